"""TR6xx: the model folder has what verl and vLLM load: config, tokenizer, chat template."""

import os
from collections.abc import Iterator

from omegaconf import DictConfig

from tr_grpo.trainer.preflight.finding import Finding, error


def check(config: DictConfig) -> Iterator[Finding]:
    """Load the tokenizer and render one message; a name that is no folder is left to the hub."""
    path = config.actor_rollout_ref.model.path
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1
    if not os.path.isdir(path):
        if looks_local:
            fix = "run `tr-grpo prep tiny-model`" if config.group.llm == "tiny" else "correct the path"
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
            "set actor_rollout_ref.model.custom_chat_template, or save the tokenizer with one",
        )  # fmt: skip
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
        yield error("TR604", f"{path}: the tokenizer lacks an end or padding token", "set both and save it again")
