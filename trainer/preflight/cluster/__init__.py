"""The checks of every node of a Ray, made by a worker on each: TR541 to TR549.

The rest of the preflight looks at the driver's machine. Here each node says what it has (``probe.py``), the answers are
collected with a time limit (``asking.py``) and compared (``comparison.py``). Costs a worker a node, and the time
in which one imports verl.
"""

import importlib.util
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.loopback import starts_own_ray
from tr_grpo.trainer.preflight import extensions
from tr_grpo.trainer.preflight.cluster import asking
from tr_grpo.trainer.preflight.cluster.comparison import Answer, Wanted, compare, disconnected, not_joined, silent
from tr_grpo.trainer.preflight.cluster.probe import Questions
from tr_grpo.trainer.preflight.finding import Finding, Severity


def check(config: DictConfig) -> list[Finding]:
    """Ask every node of the Ray that the run would use, or of one of the check's own where the address is local.

    Args:
        config: a composed run, resolved, that has passed the rest of the preflight.
    """
    on_gpu = config.trainer.device == "cuda"
    try:
        with asking.connected(config), _token(config) as questions:
            interview = asking.Interview(asking.places(), on_gpu)
            try:
                return list(_findings(config, questions, interview, on_gpu))
            finally:
                interview.close()
    except asking.NotJoined as problem:
        return [problem.finding]


def check_or_raise(config: DictConfig, show: bool = True) -> list[Finding]:
    """:func:`check` for a run that joins a Ray; nothing for one that starts its own.

    Args:
        config: a composed run.
        show: print warnings to standard error.

    Returns:
        The findings, none of them an error.

    Raises:
        InputError: the errors, one line each.
    """
    if starts_own_ray(config):
        return []
    findings = check(config)
    if errors := [finding for finding in findings if finding.severity is Severity.ERROR]:
        raise InputError("\n       ".join(f"{e.code} {e.message} -> {e.fix}" for e in errors))
    if show:
        for finding in findings:
            print(finding, file=sys.stderr)
    return findings


def _findings(config: DictConfig, questions: Questions, interview: asking.Interview, on_gpu: bool) -> Iterator[Finding]:
    nodes = interview.nodes
    facts = interview.ask("facts", asking.ANSWER_S, dict.fromkeys(nodes, (questions,)))
    clocks = {node: interview.offset(node) for node in interview.answering}
    loaded = interview.ask("load", asking.LOAD_S, dict.fromkeys(nodes, (questions,)))
    answers = [
        Answer(place, facts.get(node), clocks.get(node), loaded.get(node), interview.silent.get(node))
        for node, place in nodes.items()
    ]
    yield from compare(answers, _wanted(config, questions))
    names = {node: place.name for node, place in nodes.items()}
    told = set(interview.silent)
    pairs = asking.broken_pairs(interview)
    yield from silent({names[node]: why for node, why in interview.silent.items() if node not in told})
    yield from disconnected({(names[a], names[b]): why for (a, b), why in pairs.items()})
    if not pairs and not any(answer.loaded and answer.loaded.faults for answer in answers):
        backend = "nccl" if on_gpu else "gloo"
        faults = asking.without_sum(interview, backend)
        yield from not_joined({names[node]: why for node, why in faults.items()}, backend, answers)


def _wanted(config: DictConfig, questions: Questions) -> Wanted:
    import torch

    return Wanted(config.trainer.nnodes, config.trainer.n_gpus_per_node, questions.run_folder, torch.version.cuda)


@contextmanager
def _token(config: DictConfig) -> Iterator[Questions]:
    """A file that another machine can only see if it shares the folder."""
    folder = Path(config.trainer.default_local_dir)
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    token = existing / f".tr_grpo-{secrets.token_hex(8)}"
    token.write_bytes(b"")
    model = config.actor_rollout_ref.model.path
    try:
        yield Questions(
            run_folder=str(existing),
            token=token.name,
            inputs=tuple(_inputs(config)),
            hub_model=None if os.path.isdir(model) else model,
            scripts=tuple(_scripts()),
            actor=cast(Mapping[str, Any], OmegaConf.to_container(config.actor_rollout_ref.actor, resolve=True)),
        )
    finally:
        token.unlink()


def _inputs(config: DictConfig) -> Iterator[str]:
    """Data files, and the model where it is a folder."""
    for key in ("train_files", "val_files"):
        files = config.data[key]
        yield from (file for file in ([files] if isinstance(files, str) else files) if "://" not in file)
    if Path(config.actor_rollout_ref.model.path).is_dir():
        yield config.actor_rollout_ref.model.path


def _scripts() -> Iterator[tuple[str, str]]:
    """What this machine has, every node must have and load."""
    for package, script in (("vllm", extensions.VLLM), ("flash_attn", extensions.FLASH_ATTENTION)):
        if importlib.util.find_spec(package) is not None:
            yield package, script
