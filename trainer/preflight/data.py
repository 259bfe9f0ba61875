"""TR2xx: data files, columns and rows, prompts that occur twice, and how many the length limit leaves."""

import os
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.schema import read_rows, validate_parquet
from tr_grpo.trainer.preflight.finding import Finding, error, one_line, warning

SAMPLE = 256
"""Prompts whose length is measured here; verl filters all of them when it loads the data."""

ROLES = ("system", "user", "assistant", "tool")
LAST_ROLES = ("user", "tool")
MOST_REPEATED = 0.01
"""Share of repeated training prompts that collections of problems have by accident."""


def files(config: DictConfig, key: str) -> list[Path]:
    """The paths under ``data.<key>`` as a list."""
    value = config.data[key]
    return [Path(path) for path in (value if isinstance(value, ListConfig | list) else [value])]


def check(config: DictConfig) -> Iterator[Finding]:
    """Each file is valid; the training set fills a batch; prompts fit the limit."""
    rows = {}
    for key in ("train_files", "val_files"):
        rows[key] = 0
        for path in files(config, key):
            try:
                rows[key] += validate_parquet(path)
            except InputError as problem:
                yield error("TR201", f"data.{key}: {problem}", "prepare the data (docs/data.md), or correct the path")
                return
    most = config.data.train_max_samples
    usable = min(rows["train_files"], most) if most > 0 else rows["train_files"]
    if usable < config.data.train_batch_size:
        yield error(
            "TR202",
            f"data.train_files has {usable} rows, less than data.train_batch_size="
            f"{config.data.train_batch_size}: there would be no step",
            "prepare more rows, or lower data.train_batch_size",
        )
    if set(files(config, "train_files")) & set(files(config, "val_files")):
        yield warning("TR203", "data.train_files and data.val_files share a file", "evaluate on held-out data")
    else:
        yield from _repeated(config)
    yield from _rendered(config)


def _repeated(config: DictConfig) -> Iterator[Finding]:
    trained: set[int] = set()
    rows = 0
    for path in files(config, "train_files"):
        for key in _prompt_keys(path):
            trained.add(key)
            rows += 1
    repeated = rows - len(trained)
    if repeated > MOST_REPEATED * rows:
        yield warning(
            "TR206", f"data.train_files: {repeated} of {rows} prompts are there before ({repeated / rows:.1%})",
            "prepare the data again without duplicates, unless they are meant as weights",
        )  # fmt: skip
    for path in files(config, "val_files"):
        known = sum(key in trained for key in _prompt_keys(path))
        if known:
            yield warning(
                "TR207", f"{path}: {known} prompts are in data.train_files too, so the accuracy on them says nothing",
                "take them out of the training data (`tr-grpo prep` leaves out those of the evaluation sets beside it)",
            )  # fmt: skip


def _prompt_keys(path: Path) -> Iterator[int]:
    """A number for each row's messages, the same for the same messages within this process."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=4096, columns=["prompt"]):
            for prompt in batch["prompt"].to_pylist():
                yield hash(tuple((message["role"], message["content"]) for message in prompt))


def _rendered(config: DictConfig) -> Iterator[Finding]:
    """The first prompts of each file through the model's chat template, as verl will render them."""
    path = config.actor_rollout_ref.model.path
    if not os.path.isdir(path):
        return
    from jinja2.exceptions import TemplateError
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    template = config.actor_rollout_ref.model.custom_chat_template
    tokenizer.chat_template = template or tokenizer.chat_template
    for key in ("train_files", "val_files"):
        lengths = []
        for file in files(config, key):
            prompts = [row["prompt"] for row in read_rows(file)[:SAMPLE]]
            yield from _roles(file, prompts)
            for number, prompt in enumerate(prompts):
                try:
                    encoded = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)
                except TemplateError as problem:
                    yield error(
                        "TR208", f"{file}: row {number}: the chat template refuses the prompt: {one_line(problem)}",
                        "prepare the prompts as the model's template expects them",
                    )  # fmt: skip
                    return
                lengths.append(len(encoded["input_ids"]))
        yield from _lengths(config, key, lengths)


def _roles(path: Path, prompts: list[list[dict[str, str]]]) -> Iterator[Finding]:
    for number, prompt in enumerate(prompts):
        unknown = [message["role"] for message in prompt if message["role"] not in ROLES]
        if unknown or prompt[-1]["role"] not in LAST_ROLES:
            what = f"has the role {unknown[0]!r}" if unknown else f"ends with a message of {prompt[-1]['role']}"
            yield warning(
                "TR208", f"{path}: row {number}: the prompt {what}; the policy is to answer a message of the user",
                f"use the roles {', '.join(ROLES)}, and end with user",
            )  # fmt: skip
            return


def _lengths(config: DictConfig, key: str, lengths: list[int]) -> Iterator[Finding]:
    limit = config.data.max_prompt_length
    fitting = sum(length <= limit for length in lengths)
    if fitting == 0:
        yield error(
            "TR204",
            f"data.{key}: no prompt of {len(lengths)} fits data.max_prompt_length={limit} "
            f"(shortest {min(lengths)} tokens): the data set would be empty",
            "raise data.max_prompt_length, or prepare shorter prompts",
        )
    elif fitting < len(lengths):
        lost = 1 - fitting / len(lengths)
        finding = warning if config.data.filter_overlong_prompts else error
        yield finding(
            "TR205", f"data.{key}: {lost:.1%} of the prompts exceed data.max_prompt_length={limit}",
            "raise it" if config.data.filter_overlong_prompts else "raise it, or data.filter_overlong_prompts=true",
        )  # fmt: skip
