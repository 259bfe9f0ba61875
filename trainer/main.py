"""The entry point of a training run: compose, check, then hand over to verl's trainer.

``tr-grpo train …`` = ``python -m tr_grpo.trainer.main …`` = ``scripts/train.sh …``. Everything that is not
one of the flags below is a Hydra override and reaches verl untouched.

Exit status: 0 done, 1 the run failed, 2 bad input (nothing was started), 75 stopped on request with a checkpoint
(SIGTERM, SIGUSR1), 130 interrupted.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer import exit_status, processes, run_name, stop
from tr_grpo.trainer.cause import cause_of
from tr_grpo.trainer.checkpoints import tracker
from tr_grpo.trainer.compose import compose, environment, package_path
from tr_grpo.trainer.loopback import keep_on_loopback
from tr_grpo.trainer.preflight.finding import Finding
from tr_grpo.trainer.redaction import redact, redacted

DESCRIPTION = """Train with verl. Overrides are Hydra's: algo=tr_grpo task=knights_knaves llm=tiny cluster=cpu
track=console, and any key of verl's, e.g. actor_rollout_ref.actor.optim.lr=1e-6."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``tr-grpo train`` with ``argv`` (default: the command line) and return the exit status."""
    arguments, overrides = _parse(sys.argv[1:] if argv is None else argv)
    try:
        config = compose(overrides)
        use_absolute_paths(config)
        if config.trainer.max_restarts > 0 and not arguments.supervised and not arguments.dry_run:
            return _supervise(sys.argv[1:] if argv is None else argv, config)
        os.environ.update(environment(config))
        keep_on_loopback(config)
        if config.trainer.resume_mode == "auto" and not arguments.dry_run:
            # Before the preflight, which looks at the checkpoint that would be resumed.
            _settle(Path(config.trainer.default_local_dir))
        # verl hands ray_kwargs to Ray without resolving interpolations.
        OmegaConf.resolve(config)
        # Imported now because it imports verl, which reads the environment set above.
        from tr_grpo.trainer.preflight import check_or_raise, cluster

        findings = check_or_raise(config, show=not arguments.quiet)
        if arguments.dry_run:
            print(OmegaConf.to_yaml(without_secrets(config)))
            return exit_status.DONE
        findings += cluster.check_or_raise(config, show=not arguments.quiet)
        return _run(config, overrides, findings)
    except InputError as error:
        if arguments.debug:
            raise
        print(f"error: {redact(str(error))}", file=sys.stderr)
        return exit_status.BAD_INPUT
    except stop.StoppedError as stopped:
        print(stopped, file=sys.stderr)
        return exit_status.STOPPED
    except KeyboardInterrupt:
        print("interrupted; the last checkpoint is kept, and the same command resumes from it", file=sys.stderr)
        return exit_status.INTERRUPTED
    except Exception as error:  # noqa: BLE001
        # The last resort of a command line: say it in one line, the whole of it with --debug.
        if arguments.debug:
            traceback.print_exc()
        print(f"error: {redact(cause_of(error))}", file=sys.stderr)
        return exit_status.FAILED


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser("tr-grpo train", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_argument("--dry-run", action="store_true", help="check, print the resolved config, start nothing")
    parser.add_argument("--quiet", action="store_true", help="print no ledger and no warnings, errors only")
    parser.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)  # trainer/restarts.py
    arguments, overrides = parser.parse_known_args(argv)
    unknown = [word for word in overrides if word.startswith("--")]
    if unknown:
        parser.error(f"{unknown[0]} is not a flag; Hydra overrides have no dashes, e.g. algo=tr_grpo")
    return arguments, overrides


def use_absolute_paths(config: DictConfig) -> None:
    """Ray's workers may start in another folder, so paths are fixed where the command was given."""
    config.trainer.default_local_dir = _absolute(config.trainer.default_local_dir)
    for key in ("train_files", "val_files"):
        files = config.data[key]
        config.data[key] = _absolute(files) if isinstance(files, str) else [_absolute(file) for file in files]
    agent = config.actor_rollout_ref.rollout.agent
    if agent.agent_loop_config_path:
        agent.agent_loop_config_path = _absolute(package_path(agent.agent_loop_config_path))
    if config.search.token_file:
        config.search.token_file = _absolute(config.search.token_file)
    model = config.actor_rollout_ref.model.path
    if os.path.isdir(os.path.expanduser(model)):  # else a hub name
        config.actor_rollout_ref.model.path = _absolute(model)


def without_secrets(config: DictConfig) -> DictConfig:
    """The resolved config as it may be shown and stored; the preflight has refused what it would leave out (TR551)."""
    return OmegaConf.create(redacted(OmegaConf.to_container(config, resolve=True)))


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def _supervise(words: Sequence[str], config: DictConfig) -> int:
    from tr_grpo.trainer.restarts import supervise

    run_folder = Path(config.trainer.default_local_dir)
    command = [sys.executable, "-m", "tr_grpo.trainer.main", "--supervised", *words]
    return supervise(command, run_folder, config.trainer.max_restarts, config.trainer.restart_pause_s)


def _settle(run_folder: Path) -> None:
    """verl resumes from what the tracker names, whatever its state; say it where that is changed."""
    found = tracker.settle(run_folder)
    if found is not None and found.problem is not None:
        print(f"{found.problem}; resuming from step {found.step} instead", file=sys.stderr)


def _run(config: DictConfig, overrides: Sequence[str], findings: Sequence[Finding]) -> int:
    """verl's own ``main_ppo`` from after the config on, in this process; cleans up whatever happens."""
    from tr_grpo.trainer.run_log import ended_runs, logged

    run_folder = Path(config.trainer.default_local_dir)
    run_folder.mkdir(parents=True, exist_ok=True)
    metrics_file = next_metrics_file(run_folder)
    with open_dict(config):
        variables = config.ray_kwargs.ray_init.runtime_env.setdefault("env_vars", {})
        variables["VERL_FILE_LOGGER_PATH"] = str(metrics_file)
        variables[run_name.VARIABLE] = run = run_name.new()
    OmegaConf.save(without_secrets(config), run_folder / "config.yaml")

    processes.adopt_orphans()
    stop.withdraw(run_folder)
    for earlier in ended_runs(run_folder):
        run_name.remove_left(earlier)  # that start may have been killed
    on_stop = partial(processes.on_stop_signals, partial(_stop, run_folder, metrics_file))
    on_stop()
    start = int(metrics_file.stem.removeprefix("metrics-"))
    try:
        with logged(run_folder, start, run, overrides, config, findings):
            _train_until_stopped(config, run_folder, on_stop)
    finally:
        # A second Ctrl-C must not leave the clean-up half done; it takes seconds.
        processes.ignore_interrupts()
        import ray

        ray.shutdown()
        processes.stop_descendants()
        run_name.remove_left(run)
    return exit_status.DONE


def _stop(run_folder: Path, metrics_file: Path) -> None:
    """A scheduler's first signal: end with a checkpoint, or at once while there is nothing to save yet."""
    stop.request(run_folder)
    if not metrics_file.is_file() or not metrics_file.stat().st_size:
        raise KeyboardInterrupt
    print("stop requested: the step under way is finished and saved; a second signal stops at once", file=sys.stderr)


def _train_until_stopped(config: DictConfig, run_folder: Path, ray_is_up: Callable[[], None]) -> None:
    """Train; a request to stop, of a scheduler or a person, ends it with StoppedError unless it was done anyway."""
    from tr_grpo.trainer.run_log import planned_steps

    try:
        _train(config, ray_is_up)
    except KeyboardInterrupt:
        if not stop.requested(run_folder):
            raise
        raise stop.StoppedError(
            "stopped at once on request; the same command goes on from the last checkpoint"
        ) from None
    if not stop.requested(run_folder):
        return
    step, planned = tracker.read(run_folder), planned_steps(config)
    if planned is None or (step or 0) < planned:
        raise stop.StoppedError(f"stopped on request after step {step}, with a checkpoint; the same command goes on")


def next_metrics_file(run_folder: Path) -> Path:
    """``metrics-NNN.jsonl``, one for each start: verl's file logger truncates the file it opens."""
    return run_folder / f"metrics-{len(list(run_folder.glob('metrics-*.jsonl'))):03d}.jsonl"


class _TaskRunner:
    """verl's, started as verl does, but on the driver's node if there is room: it writes metrics and the tracker there.

    Its start is the first moment after Ray has put signal handlers of its own in place.
    """

    def __init__(self, verls: Any, ray_is_up: Callable[[], None], **options: Any) -> None:
        self._verls, self._ray_is_up, self._options = verls, ray_is_up, options

    def options(self, **options: Any) -> "_TaskRunner":
        return _TaskRunner(self._verls, self._ray_is_up, **self._options, **options)

    def remote(self) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray_is_up()
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        return self._verls.options(scheduling_strategy=here, **self._options).remote()


def _train(config: DictConfig, ray_is_up: Callable[[], None]) -> None:
    from verl.trainer.main_ppo import TaskRunnerV1, run_ppo
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config
    from verl.utils.device import auto_set_device

    auto_set_device(config)
    try:
        validate_config(config, need_reference_policy(config), need_critic(config))
    except (AssertionError, ValueError) as error:
        raise InputError(" ".join(str(error).split())) from error
    if config.trainer.use_v1:
        run_ppo(config, task_runner_class=_TaskRunner(TaskRunnerV1, ray_is_up))
    else:
        from verl.trainer.main_ppo_v0 import TaskRunner

        run_ppo(config, task_runner_class=_TaskRunner(TaskRunner, ray_is_up))


if __name__ == "__main__":
    sys.exit(main())
