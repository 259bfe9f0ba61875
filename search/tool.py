"""Search as a verl tool, for models that call tools in their own chat template (native tool calling).

``search_tool`` of :mod:`tr_grpo.search.tool_loop` builds it from the run's ``search`` section. In a tool file of your
own (``rollout.multi_turn.tool_config_path``) it takes the same keys, and the tokenizer by which passages are cut::

    tools:
      - class_name: tr_grpo.search.tool.SearchTool
        config: {type: native, url: "http://127.0.0.1:8000", top_k: 3, tokenizer: Qwen/Qwen2.5-3B-Instruct}
"""

from __future__ import annotations

from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase
from verl.tools.base_tool import BaseTool
from verl.tools.schemas import OpenAIFunctionToolSchema, ToolResponse

from tr_grpo.search.client import shared_client
from tr_grpo.search.recorder import Recorder
from tr_grpo.search.searching import search_text
from tr_grpo.search.settings import SearchSettings

RECORD = "search_record"
"""Where the tool keeps its count in verl's ``agent_data.extra_fields``."""

SCHEMA = OpenAIFunctionToolSchema.model_validate(
    {
        "type": "function",
        "function": {
            "name": "search",
            "description": "Searches a collection of passages and returns those that match the query best.",
            "parameters": {
                "type": "object",
                "properties": {"query": {"type": "string", "description": "What to search for."}},
                "required": ["query"],
            },
        },
    }
)


class SearchTool(BaseTool):
    """One search a call; a failed one is said to be failed, and counted."""

    def __init__(
        self,
        config: dict[str, Any],
        tool_schema: OpenAIFunctionToolSchema | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        super().__init__(config, tool_schema or SCHEMA)
        section = {key: value for key, value in config.items() if key not in ("type", "tokenizer")}
        self.settings = SearchSettings.read(section)
        if tokenizer is None:
            if not config.get("tokenizer"):
                raise ValueError("SearchTool cuts passages by tokens: name the model's tokenizer in its config")
            tokenizer = AutoTokenizer.from_pretrained(config["tokenizer"])
        self.tokenizer = tokenizer

    async def execute(
        self, instance_id: str, parameters: dict[str, Any], **kwargs: Any
    ) -> tuple[ToolResponse, float, dict[str, Any]]:
        """Search for ``parameters["query"]``.

        Returns:
            The passages (or what went wrong, in words), cut to ``max_observation_tokens``; no reward of its own; and
            ``{"searched": True}``, or nothing where the call asked for no search.
        """
        query = parameters.get("query") if isinstance(parameters, dict) else None
        if not isinstance(query, str) or not query.strip():
            return ToolResponse(text="`query` must be a text that is not empty."), 0.0, {}
        record = kwargs["agent_data"].extra_fields.setdefault(RECORD, Recorder())
        text = await search_text(shared_client(self.settings), query.strip(), record)
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        limit = self.settings.max_observation_tokens
        if len(ids) > limit:
            text = self.tokenizer.decode(ids[:limit])
        return ToolResponse(text=text), 0.0, {"searched": True}
