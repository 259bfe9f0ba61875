"""TR6xx: the model folder has what verl and vLLM load: config, tokenizer, chat template, context."""

import json
import os
from collections.abc import Iterator

from omegaconf import DictConfig

from tr_grpo.trainer.preflight.finding import Finding, error

TINY = {
    "tiny": "run `tr-grpo prep tiny-model`",
    "tiny_arithmetic": "run `tr-grpo prep tiny-model --task arithmetic`",
    "tiny_facts": "run `tr-grpo prep tiny-model --task facts`",
}
"""What makes the model folder of an ``llm`` that is the project's own."""


def check(config: DictConfig) -> Iterator[Finding]:
    """Load the tokenizer and render one message; a name that is no folder is left to the hub."""
    path = config.actor_rollout_ref.model.path
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1 or config.group.llm in TINY
    if not os.path.isdir(path):
        if looks_local:
            fix = "correct the path" if path else "name the model: actor_rollout_ref.model.path=FOLDER_OR_HUB_NAME"
            fix = TINY.get(config.group.llm, fix)
            yield error("TR601", f"actor_rollout_ref.model.path={path}: no such folder", fix)
        return
    for name, what in (("config.json", "no model config"), ("tokenizer_config.json", "no tokenizer")):
        if not os.path.isfile(os.path.join(path, name)):
            yield error("TR602", f"{path}: {what} ({name} is missing)", "save the model with its tokenizer there")
            return
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
    yield from _context(config, path)


def _context(config: DictConfig, path: str) -> Iterator[Finding]:
    with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
        settings = json.load(file)
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
