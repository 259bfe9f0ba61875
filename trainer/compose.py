"""Hydra composition of a run: our groups on top of verl's ``ppo_trainer``, with errors that help."""

import difflib
import importlib.resources
import importlib.util
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import tr_grpo.recipe
from tr_grpo.data_prep.errors import InputError

CONFIG_FOLDER = Path(tr_grpo.recipe.__path__[0]) / "config"
GROUPS = ("algo", "task", "llm", "cluster", "with", "track")
LIST_GROUP = "with"
"""The one group of which several options can be chosen: ``with=[lora,async]``."""


def options(group: str) -> list[str]:
    """The names that can follow ``group=`` on the command line; a file ``_name`` is a part that others include."""
    return sorted(path.stem for path in (CONFIG_FOLDER / group).glob("[!_]*.yaml"))


def compose(overrides: Sequence[str]) -> DictConfig:
    """Compose a run's config from command-line overrides, as ``tr-grpo train`` does.

    Args:
        overrides: Hydra overrides, e.g. ``["algo=tr_grpo", "actor_rollout_ref.actor.optim.lr=1e-6"]``.

    Returns:
        The config; unknown keys are refused, interpolations are not resolved yet.

    Raises:
        InputError: an unknown group, option or key (with the nearest right one), or bad override syntax.
    """
    for override in overrides:
        _check_group_option(override)
    try:
        return _compose(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        chosen_groups = [override for override in overrides if override.partition("=")[0] in GROUPS]
        raise InputError(_explain(error, chosen_groups)) from error


def verl_config_folder() -> Path:
    """verl's own configs, found without importing verl.

    Its import reads ``VERL_PLATFORM``, which a composed config is still to set, and takes seconds.
    """
    spec = importlib.util.find_spec("verl")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("verl is not installed: run scripts/setup.sh")
    return Path(spec.submodule_search_locations[0]) / "trainer" / "config"


def _compose(overrides: Sequence[str]) -> DictConfig:
    search_path = f"hydra.searchpath=['file://{verl_config_folder()}']"
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = hydra_compose("train", overrides=[search_path, *overrides])
    # Recorded with the other groups' choices; each file of those names itself, which several at once cannot.
    chosen = [name for override in overrides for name in _chosen(override, LIST_GROUP)]
    OmegaConf.update(config, f"group.{LIST_GROUP}", ",".join(chosen), force_add=True)
    return config


def _chosen(override: str, group: str) -> list[str]:
    """The options that ``group=option`` or ``group=[option,option]`` names; none for another override."""
    name, equals, option = override.partition("=")
    return [part.strip() for part in option.strip(" []").split(",") if part.strip()] if name == group and equals else []


def _check_group_option(override: str) -> None:
    group, equals, option = override.partition("=")
    if not equals or group not in GROUPS:
        return
    names = _chosen(override, group) if group == LIST_GROUP else [option]
    for name in names:
        if name not in options(group):
            several = f"; {group}=[a,b] takes several" if group == LIST_GROUP else ""
            known = ", ".join(options(group))
            raise InputError(f"{override}: no such option {name}; choose {group}= one of {known}{several}")
    if len(set(names)) < len(names):
        raise InputError(f"{override}: an option is named twice")


def _explain(error: Exception, chosen_groups: Sequence[str]) -> str:
    """One line for what Hydra says in several, with the nearest key where one is unknown."""
    message = " ".join(str(error).split())
    unknown = re.search(r"Could not (?:override|append to config|delete from config)\D*'([^']+)'", message)
    if isinstance(error, ConfigCompositionException) and unknown and "already at" in message:
        return f"{unknown[1].partition('=')[0]}: this key exists; write it without the leading +"
    if isinstance(error, ConfigCompositionException) and unknown:
        return f"{unknown[1]}: no such key{_nearest(unknown[1], chosen_groups)}; a new key needs a leading +"
    if isinstance(error, MissingConfigException):
        return f"{message.split(' Config search path')[0]}; the groups are {', '.join(GROUPS)}"
    return message


def _nearest(key: str, chosen_groups: Sequence[str]) -> str:
    known = [*GROUPS, *_keys(_compose(chosen_groups))]
    matches = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"; did you mean {matches[0]}?" if matches else ""


def _keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in config:
        path = prefix + str(name)
        yield path
        node = config._get_node(name)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation():
            yield from _keys(node, path + ".")


def package_path(path: str) -> str:
    """``pkg://package/file`` as that file's path, for keys that verl opens itself; any other path as it is."""
    if not path.startswith("pkg://"):
        return path
    package, _, name = path.removeprefix("pkg://").partition("/")
    return str(importlib.resources.files(package) / name)


def environment(config: DictConfig) -> dict[str, str]:
    """The environment variables that the cluster group wants in the driver and in every Ray worker."""
    variables = OmegaConf.select(config, "ray_kwargs.ray_init.runtime_env.env_vars") or {}
    return {name: str(value) for name, value in variables.items()}
