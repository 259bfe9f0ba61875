"""What the model is shown: questions about worlds that exist for one example only, with the passages they would find.

Names come from the train side, and every fact is drawn anew for each example, so that the weights can hold no answer:
what can be learned is to search, to read and to copy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

import torch
from transformers import PreTrainedTokenizerFast

from tr_grpo.data_prep.facts.dataset import messages
from tr_grpo.data_prep.facts.questions import KINDS, Question
from tr_grpo.data_prep.facts.words import COUNTRIES, FIRST_NAMES, PRODUCTS, SURNAMES, TOWNS
from tr_grpo.data_prep.facts.world import SAYINGS, Person, Town, World, draw_person, full_names, person_side
from tr_grpo.data_prep.tiny_model.facts.traces import careful_turns, hasty_turn
from tr_grpo.data_prep.tiny_model.supervised import PARTS, Part, Stage
from tr_grpo.data_prep.tiny_model.tokenizer import END_OF_TURN
from tr_grpo.search.observation import encode_observation, passages_text
from tr_grpo.search.passage import Passage

TOKENIZER_EXAMPLES = 3000
OBSERVATION_TOKENS = 112
"""Of one search: three passages take 91 at most."""
PASSAGES = (2, 2, 2, 3)
"""How many a search finds, each as likely."""
EASY_PASSAGES = (1, 2)
SHUFFLED = 0.3
"""Share of the searches whose passages are taught in any order: no search engine always has the right one first."""
CAREFUL = Stage("careful", steps=1100, lr=2e-3, final_lr=5e-5, easy_share=0.2)
HASTY = Stage("hasty", steps=140, lr=3e-4, final_lr=3e-5, hasty_share=0.68)

TAUGHT_NAMES = tuple(name for name in full_names() if person_side(name) == "train")


@dataclass(frozen=True)
class Lesson:
    """A question, its world, and what its searches show: one list of passages for each."""

    question: Question
    world: World
    found: list[list[Passage]]


@dataclass(frozen=True)
class Example:
    """Token ids of prompt, turns and observations, and the weight of each one's loss: 0 where the model only reads."""

    ids: list[int]
    weights: list[float]


def draw_lesson(rng: Random, easy: bool = False) -> Lesson:
    """A question and a world just large enough to ask it in.

    easy: of one hop, with few and loose passages. Where a passage always looks the same, the first thing to be learned
    is at which place an answer stands, and that has to be unlearned again.
    """
    hops = 1 if easy else rng.choice((1, 2))
    kind = rng.choice([kind for kind in KINDS if kind.hops == hops])
    name = rng.choice(TAUGHT_NAMES)
    person = draw_person(name, rng, list(TOWNS))
    town = Town(getattr(person, kind.facts[0]), rng.choice(COUNTRIES), rng.choice(PRODUCTS)) if kind.hops == 2 else None
    world = World({name: person}, {town.name: town} if town else {})
    others = rng.choice(EASY_PASSAGES if easy else PASSAGES) - 1
    found = [_ordered([person.passage, *namesakes(person, others, rng)], rng)]
    if town:
        found.append(_ordered([town.passage, *people_of(town, others, rng)], rng))
    if easy:
        found = [[loose(passage, kind.facts[0], rng) for passage in passages] for passages in found]
    return Lesson(Question(name, kind, rng.randrange(len(kind.wordings))), world, found)


def loose(passage: Passage, fact: str, rng: Random) -> Passage:
    """The passage with its sentences in any order and some left out, but not the one of ``fact``."""
    opening = SAYINGS[fact].format("")
    sentences = [
        sentence for sentence in passage.text.removesuffix(".").split(". ") if opening in sentence or rng.random() < 0.5
    ]
    return Passage(passage.id, passage.title, ". ".join(rng.sample(sentences, len(sentences))) + ".")


def namesakes(person: Person, number: int, rng: Random) -> Iterator[Passage]:
    """Passages of other people with the same first name or surname: what a search by words finds too."""
    first, last = person.name.split()
    sharing = [f"{first} {other}" for other in SURNAMES] + [f"{other} {last}" for other in FIRST_NAMES]
    taught = [name for name in sharing if name != person.name and person_side(name) == "train"]
    for name in rng.sample(taught, number):
        yield draw_person(name, rng, list(TOWNS)).passage


def people_of(town: Town, number: int, rng: Random) -> Iterator[Passage]:
    """Passages of people who were born or live in ``town``."""
    for name in rng.sample(TAUGHT_NAMES, number):
        towns = [town.name, rng.choice([other for other in TOWNS if other != town.name])]
        yield draw_person(name, rng, towns).passage


def _ordered(passages: list[Passage], rng: Random) -> list[Passage]:
    return rng.sample(passages, len(passages)) if rng.random() < SHUFFLED else passages


def chat_text(tokenizer: PreTrainedTokenizerFast, question: Question) -> str:
    """The question's prompt in the chat template, up to where the response begins."""
    text = tokenizer.apply_chat_template(messages(question), tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    return text


def tokenizer_texts(seed: int) -> Iterator[str]:
    """What the tokenizer learns its words from: turns of a chat, and passages."""
    rng = Random(f"tiny_model/facts/tokenizer/{seed}")
    for _ in range(TOKENIZER_EXAMPLES):
        lesson = draw_lesson(rng)
        (message,) = messages(lesson.question)
        yield f"{message['role']}\n{message['content']}{END_OF_TURN}assistant\n"
        yield from careful_turns(lesson.question, lesson.world)
        yield hasty_turn(lesson.question.kind, rng)
        yield from (f"\n\n<information>{passages_text(passages)}</information>\n\n" for passages in lesson.found)


def draw_batches(tokenizer: PreTrainedTokenizerFast, stage: Stage, seed: int) -> Iterator[list[Part]]:
    """Endless batches of examples, each of a world of its own."""
    rng = Random(f"tiny_model/facts/{stage.name}/{seed}")
    for step in count():
        easy = step < stage.easy_share * stage.steps
        lessons = [draw_lesson(rng, easy) for _ in range(stage.batch)]
        yield collate(
            [
                to_example(tokenizer, lesson, rng.random() < stage.hasty_share, stage.prompt_weight, rng)
                for lesson in lessons
            ],
            tokenizer.pad_token_id,
        )


def to_example(
    tokenizer: PreTrainedTokenizerFast, lesson: Lesson, hasty: bool, prompt_weight: float, rng: Random
) -> Example:
    """The whole trajectory as the agent loop would record it: ids of its parts joined, never tokenised together."""
    prompt = tokenizer.encode(chat_text(tokenizer, lesson.question), add_special_tokens=False)
    turns = [hasty_turn(lesson.question.kind, rng)] if hasty else careful_turns(lesson.question, lesson.world)
    ids, weights = list(prompt), [prompt_weight] * len(prompt)
    for number, turn in enumerate(turns):
        last = number == len(turns) - 1
        said = tokenizer.encode(turn, add_special_tokens=False) + ([tokenizer.eos_token_id] if last else [])
        read = [] if last else encode_observation(tokenizer, passages_text(lesson.found[number]), OBSERVATION_TOKENS)
        ids += said + read
        weights += [1.0] * len(said) + [0.0] * len(read)
    return Example(ids, weights)


def collate(examples: Sequence[Example], padding: int) -> list[Part]:
    """``PARTS`` of examples of similar length, padded on the right."""
    ordered = sorted(examples, key=lambda example: len(example.ids))
    size = -(-len(ordered) // PARTS)  # rounded up
    parts = []
    for start in range(0, len(ordered), size):
        part = ordered[start : start + size]
        longest = len(part[-1].ids)
        tokens, weights = torch.full((len(part), longest), padding), torch.zeros(len(part), longest)
        for row, example in enumerate(part):
            tokens[row, : len(example.ids)] = torch.tensor(example.ids)
            weights[row, : len(example.ids)] = torch.tensor(example.weights)
        parts.append((tokens, weights))
    return parts
