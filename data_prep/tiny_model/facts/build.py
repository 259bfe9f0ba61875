"""From a data folder of ``prep facts`` to a model folder with its manifest."""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.facts.dataset import CORPUS, read_corpus
from tr_grpo.data_prep.facts.proof import Known, known_facts, prove_apart, read_questions
from tr_grpo.data_prep.facts.questions import Question
from tr_grpo.data_prep.storage import SPLITS, sha256
from tr_grpo.data_prep.tiny_model.build import one_thread, round_to_half
from tr_grpo.data_prep.tiny_model.facts.dialogue import Find
from tr_grpo.data_prep.tiny_model.facts.evaluate import TOP_K, evaluate, word_search
from tr_grpo.data_prep.tiny_model.facts.teach import CAREFUL, HASTY, TAUGHT_NAMES, draw_batches, tokenizer_texts
from tr_grpo.data_prep.tiny_model.facts.tokenizer import train_tokenizer
from tr_grpo.data_prep.tiny_model.files import finish, output_folder
from tr_grpo.data_prep.tiny_model.supervised import Progress, Stage, fit, new_model

EMBEDDING_SCALE = 5.0


@dataclass(frozen=True)
class BuildConfig:
    """What decides the weights. Data do not: every taught fact is drawn for one example."""

    seed: int = 0
    stages: tuple[Stage, ...] = (CAREFUL, HASTY)


@dataclass(frozen=True)
class Data:
    """What the model is measured on, and what the manifest says of it."""

    test: list[Question]
    known: Known
    find: Find
    described: dict[str, Any]


def build(data: Sequence[Path], out: Path, config: BuildConfig | None = None, progress: Progress | None = None) -> None:
    """Train a tiny model, measure it on the test questions of the ``data`` folder and write it to ``out``.

    The same data, config, machine and library versions give the same bytes. ``out`` appears whole or not at all.
    Raises InputError for data that cannot be used and for an ``out`` that exists or cannot be written.
    """
    config = config or BuildConfig()
    if len(data) != 1:
        raise InputError(f"--data: {len(data)} folders are given; facts take one, since each has a corpus of its own")
    facts = read_data(data[0])
    with output_folder(out) as folder, one_thread():
        tokenizer = train_tokenizer(tokenizer_texts(config.seed))
        model = new_reader(tokenizer, config.seed)
        careful: dict[str, Any] = {}
        for stage in config.stages:
            fit(model, draw_batches(tokenizer, stage, config.seed), stage, progress)
            careful = careful or _measured(model, tokenizer, facts)
        round_to_half(model)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        finish(folder, _manifest(model, tokenizer, facts, config) | {"held_out_greedy_after_careful": careful})


def new_reader(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen2ForCausalLM:
    """A random model whose embeddings are ``EMBEDDING_SCALE`` times as large as usual.

    At the usual size, what the words of one kind have in common soon drowns what tells them apart, and copying a word
    takes more than 350 steps to learn in place of about 120.
    """
    model = new_model(tokenizer, seed)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(EMBEDDING_SCALE)
    return model


def read_data(folder: Path) -> Data:
    """A folder's test questions and corpus; InputError if the sides share an entity or a test person is taught."""
    corpus = read_corpus(folder / CORPUS)
    known = known_facts(corpus)
    files = {split: folder / f"{split}.parquet" for split in SPLITS}
    train, test = (read_questions(file, known) for file in files.values())
    apart = prove_apart(train, test, known)
    taught = {question.person for question in test} & set(TAUGHT_NAMES)
    if taught:
        raise InputError(f"{files['test']}: {len(taught)} people are on the train side, for example {min(taught)}")
    described: dict[str, Any] = {
        split: {"questions": len(questions), "sha256": sha256(files[split])}
        for split, questions in zip(SPLITS, (train, test), strict=True)
    }
    described[CORPUS] = {"passages": len(corpus), "sha256": sha256(folder / CORPUS)}
    return Data(test, known, word_search(corpus), described | {"shared_entities": apart["shared"]})


def _measured(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, data: Data, **sampling: Any
) -> dict[str, Any]:
    """Accuracy by number of hops, as JSON."""
    found = evaluate(model, tokenizer, data.test, data.known, data.find, **sampling)
    return {str(hops): asdict(accuracy) for hops, accuracy in found.items()}


def _manifest(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, data: Data, config: BuildConfig
) -> dict[str, Any]:
    """What the model is: how it was made and what it can do before reinforcement learning."""
    sampled = {"samples": 8, "temperature": 1.0, "seed": config.seed}
    return {
        "parameters": model.num_parameters(),
        "vocabulary": len(tokenizer),
        "config": asdict(config),
        "data": [data.described],
        "search": {"engine": "BM25 (bm25s)", "top_k": TOP_K},
        "held_out_greedy": _measured(model, tokenizer, data),
        "held_out_temperature_1": _measured(model, tokenizer, data, **sampled),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "bm25s")}
        | {"python": platform.python_version()},
    }
