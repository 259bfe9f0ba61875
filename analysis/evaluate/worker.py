"""One process of an evaluation: one vLLM engine and its share of the problems. Started by workers.py alone."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from tr_grpo.analysis.evaluate.problems import Problem, read_problems
from tr_grpo.analysis.evaluate.samples import FLUSH_SECONDS, SampleFolder, SampleWriter
from tr_grpo.analysis.evaluate.settings import CONFIG, SAMPLES, Sampling, read_record
from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer import processes

if TYPE_CHECKING:
    from tr_grpo.analysis.evaluate.generate import Rollouts
    from tr_grpo.analysis.evaluate.judge import Judge

STOPPED = 143
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Share:
    """What one of ``of`` processes does: every ``of``-th problem, from the ``rank``-th."""

    folder: Path
    rank: int
    of: int
    start: int
    """The number of this start of the evaluation, for the names of the parts."""
    parent: int
    """The command's process; without it this one ends."""

    @property
    def samples(self) -> SampleFolder:
        """Where they are written."""
        return SampleFolder(self.folder / SAMPLES)


class ParentEnded(Exception):
    """The command was killed."""


Job = tuple[Problem, int, bool]


def jobs(problems: list[Problem], sampling: Sampling, done: set[tuple[str, int, bool]]) -> Iterator[Job]:
    """The samples that are to be made: all samples of a problem one after the other, for the cache of its prompt."""
    for problem in problems:
        for number, greedy in sampling.wanted:
            if (problem.id, number, greedy) not in done:
                yield problem, number, greedy


def main() -> int:
    """Run one share; exit status 0 done, 1 failed (the last line of the log says why), 143 stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name in ("--rank", "--of", "--start", "--parent"):
        parser.add_argument(name, type=int, required=True)
    share = Share(**vars(parser.parse_args()))
    _end_with(share.parent, signal.SIGTERM)
    processes.interrupt_on_sigterm()
    processes.adopt_orphans()
    try:
        return asyncio.run(_evaluate(share))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return STOPPED
    except Exception as error:  # noqa: BLE001
        # The last resort of a process: everything to the log, its last line for the command.
        cause = _cause(error)
        if isinstance(cause, ParentEnded):
            return STOPPED
        if not isinstance(cause, InputError):
            traceback.print_exc()
        name = "" if isinstance(cause, InputError) else f"{type(cause).__name__}: "
        print(f"error: {name}{' '.join(str(cause).split())}", file=sys.stderr)
        return 1
    finally:
        processes.ignore_interrupts()
        processes.stop_descendants()


def _cause(error: BaseException) -> BaseException:
    """The exception in a task group's group of one or more."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _end_with(parent: int, number: signal.Signals) -> None:
    """The kernel sends signal ``number`` to this process when ``parent``, which started it, ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it ended before that
        raise SystemExit(STOPPED)


async def _evaluate(share: Share) -> int:
    record = read_record(share.folder)
    config = OmegaConf.load(share.folder / CONFIG)
    assert isinstance(config, DictConfig)
    sampling = Sampling(**record["sampling"])
    problems = read_problems([Path(file) for file in config.data.val_files], record["limit"])[share.rank :: share.of]
    todo = list(jobs(problems, sampling, share.samples.done()))

    # They load torch, verl and vLLM, which read the environment that workers.py has set.
    from tr_grpo.analysis.evaluate.generate import Rollouts
    from tr_grpo.analysis.evaluate.judge import Judge

    _share_processors(config, share.of)
    rollouts = Rollouts(config, sampling)
    for problem in {job[0].id: job[0] for job in todo}.values():
        rollouts.refuse_longer(problem, await rollouts.prompt_tokens(problem))
    judge = Judge(config, rollouts.tokenizer)
    rollouts.start()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    writer = SampleWriter(share.samples, share.start, share.rank)
    try:
        await _run(share, todo, rollouts, judge, writer)
    finally:
        writer.flush()
        rollouts.llm_client.close()
    return 0


def _share_processors(config: DictConfig, processes_here: int) -> None:
    """A judging pool that takes all processors takes its share of them here, where each process has one."""
    pool = config.reward.reward_kwargs.pool
    if pool is not None and not pool.get("workers"):
        pool.workers = max(1, min(16, os.cpu_count() or 1) // processes_here)


async def _run(share: Share, todo: list[Job], rollouts: Rollouts, judge: Judge, writer: SampleWriter) -> None:
    """As many samples at a time as the engine takes, and as many again that wait for it or are judged."""
    at_once = 2 * int(rollouts.config.actor_rollout_ref.rollout.max_num_seqs)

    async def work(waiting: Iterator[Job]) -> None:
        for problem, number, greedy in waiting:
            began = time.monotonic()
            output = await rollouts.respond(problem, number, greedy)
            writer.add(await judge.sample(problem, number, greedy, output, time.monotonic() - began))

    async def watch() -> None:
        while True:
            writer.flush_if_due()
            # A signal that came while vLLM started may have been lost in it.
            if os.getppid() != share.parent:
                raise ParentEnded
            await asyncio.sleep(FLUSH_SECONDS / 4)

    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watch())
        # One after the other: on a CPU vLLM 0.24.0 ignores the seeds of a batch that also has greedy requests.
        for phase in ([job for job in todo if job[2]], [job for job in todo if not job[2]]):
            waiting = iter(phase)
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(at_once, len(phase))):
                    workers.create_task(work(waiting))
        watcher.cancel()


if __name__ == "__main__":
    sys.exit(main())
elif __name__ == "__mp_main__":
    # One of vLLM's own processes: Python imports this module in what it spawns from it. vLLM's engine would outlive a
    # killed parent, and hold its memory.
    _end_with(os.getppid(), signal.SIGKILL)
