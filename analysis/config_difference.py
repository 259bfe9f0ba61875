"""Which settings differ among runs, and which of those are the method, the seed, or a reason not to compare.

The method is what the runs' ``recipe/config/algo/*.yaml`` set, with the files that they build on, so a new algo needs
no list here. Copies that the config keeps of a key are left out while they are copies.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tr_grpo.recipe

ALGORITHMS = Path(tr_grpo.recipe.__path__[0]) / "config" / "algo"
ACTOR = "actor_rollout_ref.actor"
LOSS = f"{ACTOR}.policy_loss"
ROLLOUT = "actor_rollout_ref.rollout"
ENVIRONMENT = "ray_kwargs.ray_init.runtime_env.env_vars"
SAMPLER = "trainer.v1.sampler.sampler_kwargs"
ABSENT = "(not set)"
"""The value of a key that a run's config does not have, as with another version of the recipe or of verl."""

# Names, places, logging, checkpoints, measurements and threads: none of them changes an update or a response.
NEVER_MATTERS = (
    "group",
    "paths",
    "global_profiler",
    "trainer.default_local_dir",
    "trainer.default_hdfs_dir",
    "trainer.experiment_name",
    "trainer.project_name",
    "trainer.logger",
    "trainer.log_val_generations",
    "trainer.rollout_data_dir",
    "trainer.validation_data_dir",
    "trainer.val_before_train",
    "trainer.test_freq",
    "trainer.save_freq",
    "trainer.max_actor_ckpt_to_keep",
    "trainer.max_critic_ckpt_to_keep",
    "trainer.del_local_ckpt_after_load",
    "trainer.resume_mode",
    "trainer.resume_from_path",
    "trainer.ray_wait_register_center_timeout",
    f"{SAMPLER}.poll_interval",
    "reward.reward_kwargs.error_folder",
    f"{ACTOR}.checkpoint",
    f"{ACTOR}.profiler",
    "actor_rollout_ref.ref.profiler",
    f"{ROLLOUT}.profiler",
    f"{ROLLOUT}.prometheus",
    f"{ROLLOUT}.trace",
    f"{ROLLOUT}.disable_log_stats",
    f"{LOSS}.diagnostics",
    f"{LOSS}.sharpness_every",
    f"{LOSS}.sharpness_rho",
    f"{LOSS}.hessian_iterations",
    f"{LOSS}.record_samples",
    f"{LOSS}.record_every",
    f"{LOSS}.record_folder",
    "ray_kwargs.timeline_json_file",
    "ray_kwargs.ray_init.address",
    "ray_kwargs.ray_init.num_cpus",
    "ray_kwargs.ray_init.include_dashboard",
    f"{ENVIRONMENT}.VERL_FILE_LOGGER_PATH",
    f"{ENVIRONMENT}.TENSORBOARD_DIR",
    f"{ENVIRONMENT}.RAY_USAGE_STATS_ENABLED",
    f"{ENVIRONMENT}.TOKENIZERS_PARALLELISM",
    f"{ENVIRONMENT}.OMP_NUM_THREADS",
    f"{ENVIRONMENT}.VLLM_CPU_KVCACHE_SPACE",
    f"{ENVIRONMENT}.VLLM_CPU_OMP_THREADS_BIND",
)

# Keys that verl and the recipe fill from another, each with its source.
COPIES = {
    f"{ACTOR}.rollout_n": f"{ROLLOUT}.n",
    "actor_rollout_ref.ref.rollout_n": f"{ROLLOUT}.n",
    "actor_rollout_ref.ref.strategy": f"{ACTOR}.strategy",
    "actor_rollout_ref.ref.log_prob_use_dynamic_bsz": f"{ACTOR}.use_dynamic_bsz",
    "actor_rollout_ref.ref.log_prob_max_token_len_per_gpu": f"{ACTOR}.ppo_max_token_len_per_gpu",
    f"{ROLLOUT}.log_prob_use_dynamic_bsz": f"{ACTOR}.use_dynamic_bsz",
    f"{ROLLOUT}.log_prob_max_token_len_per_gpu": f"{ACTOR}.ppo_max_token_len_per_gpu",
    f"{ROLLOUT}.n_gpus_per_node": "trainer.n_gpus_per_node",
    f"{ROLLOUT}.prompt_length": "data.max_prompt_length",
    f"{ROLLOUT}.response_length": "data.max_response_length",
    "ray_kwargs.ray_init.num_gpus": "trainer.n_gpus_per_node",
    f"{SAMPLER}.rollout_n": f"{ROLLOUT}.n",
    f"{SAMPLER}.validation_n": f"{ROLLOUT}.val_kwargs.n",
    f"{SAMPLER}.train_batch_size": "data.train_batch_size",
    f"{SAMPLER}.gen_batch_size": "data.gen_batch_size",
    f"{SAMPLER}.overlong": "reward.reward_kwargs.overlong.mode",
    f"{SAMPLER}.max_search_failure_share": "search.max_failure_share",
    f"{SAMPLER}.filter_groups.enable": "algorithm.filter_groups.enable",
    f"{SAMPLER}.filter_groups.metric": "algorithm.filter_groups.metric",
}

# Sections that are read only where a key says so.
SWITCHES = {
    "critic": "critic.enable",
    "distillation": "distillation.enabled",
    "reward.reward_model": "reward.reward_model.enable",
}

# A file of the package: where it is installed says nothing.
PACKAGE_FILES = (f"{ROLLOUT}.agent.agent_loop_config_path",)

Differences = dict[str, dict[str, Any]]
"""By dotted key the value that each run has, by the run's name."""


@dataclass(frozen=True)
class Sorted:
    """The differences by what they mean.

    Attributes:
        method: keys that the algos set.
        seeds: keys of seeds.
        other: the rest: a difference of outcomes cannot be told from theirs.
    """

    method: Differences
    seeds: Differences
    other: Differences


def differences(configs: Mapping[str, Mapping[str, Any]]) -> Differences:
    """The keys in which resolved configs differ, in order, without those that never matter.

    Args:
        configs: the resolved config of each run, by a name that is shown.
    """
    flat = {name: dict(leaves(config)) for name, config in configs.items()}
    ignored = (*NEVER_MATTERS, *_unused(flat.values()))
    found = {}
    for key in sorted(set().union(*flat.values())):
        values = {name: own.get(key, ABSENT) for name, own in flat.items()}
        if not under(key, ignored) and not _same(_compared(key, value) for value in values.values()):
            found[key] = values
    return {key: values for key, values in found.items() if values != found.get(COPIES.get(key, ""))}


def sort(found: Differences, algos: Iterable[str]) -> Sorted:
    """Tell method, seeds and the rest apart.

    Args:
        found: of :func:`differences`.
        algos: ``group.algo`` of the runs; only what one of these sets is the method, so that a clip ratio is part of
            it where DAPO is compared and a reason for refusal where no algo sets it.
    """
    method = set().union(*(method_keys(algo) for algo in algos))
    result = Sorted({}, {}, {})
    for key, values in found.items():
        part = result.seeds if is_seed(key) else result.method if under(key, (LOSS, *method)) else result.other
        part[key] = values
    return result


def under(key: str, prefixes: Iterable[str]) -> bool:
    """Whether ``key`` is one of ``prefixes`` or lies below one, by whole names."""
    return any(key == prefix or key.startswith(prefix + ".") for prefix in prefixes)


def is_seed(key: str) -> bool:
    """Whether the key's last name is ``seed`` or ends in ``_seed``, as every seed of verl's config does."""
    name = key.rpartition(".")[2]
    return name == "seed" or name.endswith("_seed")


@cache
def method_keys(algo: str) -> frozenset[str]:
    """The dotted keys that an algo's file sets, with the files it builds on; none for an unknown algo.

    An algo from elsewhere is known by its policy loss alone, which :func:`sort` always counts as the method.
    """
    import yaml

    path = ALGORITHMS / f"{algo}.yaml"
    # A name with a slash or worse, from a config that somebody else wrote, is no file of the folder.
    if not re.fullmatch(r"\w+", algo) or not path.is_file():
        return frozenset()
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    parents = [name for name in content.pop("defaults", []) if name != "_self_"]
    content.pop("group", None)
    return frozenset(key for key, _ in leaves(content)).union(*(method_keys(name) for name in parents))


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; lists and empty mappings are values."""
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{key}.")
        else:
            yield key, value


def _unused(configs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Sections that no run reads; verl fills them with copies of the actor's settings all the same."""
    known = list(configs)
    for section, switch in SWITCHES.items():
        used = any(config.get(switch) for config in known)
        if section == "critic":
            used = used or any(config.get("algorithm.adv_estimator") == "gae" for config in known)
        if not used:
            yield section


def _compared(key: str, value: Any) -> Any:
    return Path(value).name if key in PACKAGE_FILES and isinstance(value, str) else value


def _same(values: Iterable[Any]) -> bool:
    first, *others = values
    # 1 and True are equal in Python and not in a config; 1 and 1.0 are one number.
    return all(value == first and isinstance(value, bool) == isinstance(first, bool) for value in others)
