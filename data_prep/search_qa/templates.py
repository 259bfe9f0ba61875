"""What stands around a question, and which agent loop the row is for."""

from __future__ import annotations

from dataclasses import dataclass

Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt of one user message, and the ``agent_name`` by which verl picks the loop."""

    agent: str
    before: str
    after: str = ""

    def messages(self, question: str) -> Messages:
        """The prompt. As in Search-R1, a question without a question mark gets one."""
        asked = question if question.endswith("?") else f"{question}?"
        return [{"role": "user", "content": f"{self.before}{asked}{self.after}"}]


_EXAMPLE = "without detailed illustrations. For example, <answer> Beijing </answer>. Question: "

TEMPLATES: dict[str, Template] = {
    # Search-R1's prompt to the letter (scripts/data_process/nq_search.py, template "base"): its results depend on it.
    "search_r1": Template(
        "search_r1",
        "Answer the given question. You must conduct reasoning inside <think> and </think> first every time you get "
        "new information. After reasoning, if you find you lack some knowledge, you can call a search engine by "
        "<search> query </search> and it will return the top searched results between <information> and "
        "</information>. You can search as many times as your want. If you find no further external knowledge needed, "
        f"you can directly provide the answer inside <answer> and </answer>, {_EXAMPLE}",
        "\n",
    ),
    # The chat template of the model says how its tools are called.
    "tool": Template(
        "search_tool",
        "Answer the given question. If you lack some knowledge, call the search tool; you can call it as many times as "
        f"you want. Then give the answer inside <answer> and </answer>, {_EXAMPLE}",
    ),
    # verl's own loop: what the model knows without searching.
    "plain": Template(
        "single_turn_agent",
        f"Answer the given question. Give the answer inside <answer> and </answer>, {_EXAMPLE}",
    ),
}
