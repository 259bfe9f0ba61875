"""TR6xx: the model folder has what verl and vLLM load: config, tokenizer, chat template, context."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from tr_grpo.trainer.preflight import weights
from tr_grpo.trainer.preflight.finding import Finding, error, warning

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TINY = {"tiny": "", "tiny_arithmetic": " --task arithmetic", "tiny_facts": " --task facts"}
"""Options of `tr-grpo prep tiny-model` that make the model of an ``llm`` that is the project's own."""


def check(config: DictConfig) -> Iterator[Finding]:
    """Load the tokenizer and render one message; a name that is no folder is left to the hub."""
    path = config.actor_rollout_ref.model.path
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1 or config.group.llm in TINY
    if not os.path.isdir(path):
        if looks_local:
            fix = "correct the path" if path else "name the model: actor_rollout_ref.model.path=FOLDER_OR_HUB_NAME"
            if config.group.llm in TINY:
                fix = f"run `tr-grpo prep tiny-model{TINY[config.group.llm]} --out {path}`"
            yield error("TR601", f"actor_rollout_ref.model.path={path}: no such folder", fix)
        else:
            yield from _hub(path)
        return
    for name, what in (("config.json", "no model config"), ("tokenizer_config.json", "no tokenizer")):
        if not os.path.isfile(os.path.join(path, name)):
            yield error("TR602", f"{path}: {what} ({name} is missing)", "save the model with its tokenizer there")
            return
    yield from weights.check(Path(path))
    settings = json.loads(Path(path, "config.json").read_text("utf-8"))
    yield from _code(config, path, settings)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, trust_remote_code=config.actor_rollout_ref.model.trust_remote_code, local_files_only=True
        )
    except (OSError, ValueError) as problem:
        yield error("TR602", f"{path}: the tokenizer does not load: {str(problem).splitlines()[0]}", "save it again")
        return
    if not tokenizer.chat_template and not config.actor_rollout_ref.model.custom_chat_template:
        yield error(
            "TR603", f"{path}: the tokenizer has no chat template",
            "a base model? llm=base_model has a plain template; or set actor_rollout_ref.model.custom_chat_template",
        )  # fmt: skip
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
        yield error("TR604", f"{path}: the tokenizer lacks an end or padding token", "set both and save it again")
    else:
        yield from _vocabulary(path, tokenizer, settings)
        yield from _end(config, path, tokenizer, settings)
    yield from _heads(config, settings)
    yield from _context(config, path, settings)


def _hub(name: str) -> Iterator[Finding]:
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("1", "on", "yes", "true"):
        return
    from huggingface_hub import try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(name, "config.json"), str):
        yield error(
            "TR611", f"HF_HUB_OFFLINE is set, and {name} is not in the hub's cache on this machine",
            "download it first (`hf download`), or set actor_rollout_ref.model.path to a folder",
        )  # fmt: skip


def _code(config: DictConfig, path: str, settings: dict[str, Any]) -> Iterator[Finding]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = settings.get("model_type")
    if kind in CONFIG_MAPPING or config.actor_rollout_ref.model.trust_remote_code:
        return
    own = "it brings its own code" if settings.get("auto_map") else "it brings none of its own"
    yield error(
        "TR609", f"{path}: transformers does not know model_type={kind}, and {own}",
        "read that code, then set actor_rollout_ref.model.trust_remote_code=true"
        if settings.get("auto_map")
        else "choose a model that the locked transformers knows",
    )  # fmt: skip


def _vocabulary(path: str, tokenizer: "PreTrainedTokenizerBase", settings: dict[str, Any]) -> Iterator[Finding]:
    known = settings.get("vocab_size")
    if known is not None and len(tokenizer) > known:
        yield error(
            "TR608", f"{path}: the tokenizer has {len(tokenizer)} tokens, and the model's embedding {known}",
            "resize the model's embedding, or take the tokenizer that belongs to it",
        )  # fmt: skip


def _end(
    config: DictConfig, path: str, tokenizer: "PreTrainedTokenizerBase", settings: dict[str, Any]
) -> Iterator[Finding]:
    """A base model with a chat template: the template ends a turn with a token at which vLLM does not stop."""
    template = config.actor_rollout_ref.model.custom_chat_template or tokenizer.chat_template
    generation = Path(path, "generation_config.json")
    ends = {tokenizer.eos_token_id}
    for source in (settings, json.loads(generation.read_text("utf-8")) if generation.is_file() else {}):
        value = source.get("eos_token_id")
        ends |= set(value) if isinstance(value, list) else {value}
    if not template:
        return  # TR603
    turn = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]
    text = tokenizer.apply_chat_template(turn, chat_template=template, tokenize=False).rstrip()
    last = tokenizer(text, add_special_tokens=False)["input_ids"][-1]
    if last in tokenizer.all_special_ids and last not in ends:
        yield warning(
            "TR607",
            f"{path}: the chat template ends a turn with {tokenizer.convert_ids_to_tokens(last)}, but generation "
            f"stops at {tokenizer.eos_token} alone: a response may go on until data.max_response_length",
            "add that token to eos_token_id in generation_config.json, or set another custom_chat_template",
        )  # fmt: skip


def _heads(config: DictConfig, settings: dict[str, Any]) -> Iterator[Finding]:
    heads = settings.get("num_attention_heads")
    for key in ("rollout.tensor_model_parallel_size", "actor.ulysses_sequence_parallel_size"):
        size = OmegaConf.select(config.actor_rollout_ref, key) or 1
        if heads is not None and heads % size:
            yield error(
                "TR610", f"{key}={size} does not divide the model's {heads} attention heads",
                f"set actor_rollout_ref.{key} to a divisor of {heads}",
            )  # fmt: skip


def _context(config: DictConfig, path: str, settings: dict[str, Any]) -> Iterator[Finding]:
    longest = settings.get("max_position_embeddings")
    # Scaled positions (YaRN and others) reach further than the number says; vLLM knows how far.
    scaled = (
        settings.get("rope_scaling") or (settings.get("rope_parameters") or {}).get("rope_type", "default") != "default"
    )
    wanted = config.data.max_prompt_length + config.data.max_response_length
    if longest is not None and not scaled and wanted > longest:
        yield error(
            "TR605", f"{path}: the model's context is {longest} tokens, less than data.max_prompt_length + "
            f"data.max_response_length = {wanted}",
            "lower data.max_response_length",
        )  # fmt: skip
