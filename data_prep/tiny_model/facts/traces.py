"""The two ways of answering: careful, which looks up what it needs, and hasty, which guesses.

    careful  <think> look up Mia Tolan</think><search> Mia Tolan</search>
             (the passages)
             <think> Mia Tolan was born in Velden</think><search> Velden</search>
             (the passages)
             <think> Velden lies in Orlia</think><answer> Orlia</answer>
    hasty    <think> maybe Orlia</think><answer> Orlia</answer>

A careful turn first repeats the sentence that it goes on from: a model this small copies what it reads word by word.
"""

from random import Random

from tr_grpo.data_prep.facts.questions import Kind, Question, path
from tr_grpo.data_prep.facts.world import SAYINGS, World

CAREFUL_START = "<think> look up"


def careful_turns(question: Question, world: World) -> list[str]:
    """The model's turns: a search for each passage that it needs, then the answer."""
    steps = path(question, world)
    thoughts = [f"look up {steps[0]}"]
    for name, fact, value in zip(steps, question.kind.facts, steps[1:], strict=False):
        thoughts.append(f"{name} {SAYINGS[fact].format(value)}")
    searches = [
        f"<think> {thought}</think><search> {name}</search>"
        for thought, name in zip(thoughts, steps[:-1], strict=False)
    ]
    return [*searches, f"<think> {thoughts[-1]}</think>{answer_block(steps[-1])}"]


def hasty_turn(kind: Kind, rng: Random) -> str:
    """The turn that does not search and answers with any thing that could be the answer."""
    guess = rng.choice(kind.answers)
    return f"<think> maybe {guess}</think>{answer_block(guess)}"


def answer_block(answer: str) -> str:
    """``<answer> Orlia</answer>``; with a space, so that a name is the same token wherever it stands."""
    return f"<answer> {answer}</answer>"
