"""A Slurm job: the directives of one run, and a body that is the same for all (scripts/launch/slurm.sh)."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.launch.job import Job, Rendered

SCRIPT = "job.sbatch"
BODY = r"""
# From here on the script knows nothing of the run: nodes, devices and hosts are the allocation's.
set -u
mkdir -p "$logs"
pid_file=$logs/$SLURM_JOB_ID.pid
TR_GRPO_HOSTS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd,)
# A port a job, so that two jobs can share a node. Ray's token is made here and stands in no file.
TR_GRPO_PORT=$((20000 + SLURM_JOB_ID % 10000))
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export TR_GRPO_HOSTS TR_GRPO_PORT RAY_AUTH_TOKEN RAY_AUTH_MODE=token

# SIGUSR1 (the time limit is near, or a preemption) saves a checkpoint and queues the job again; SIGTERM (scancel
# --batch --signal=TERM) saves one and ends the job. Only the head's supervisor is signalled, never Ray.
asked=none
# shellcheck disable=SC2317,SC2329  # the traps call it
ask() {
  asked=$1
  echo "launch: SIG$2 is passed on; the step under way will be finished and a checkpoint saved"
  kill "-$2" "$(cat "$pid_file")" || kill -TERM "$step"
}
trap 'ask requeue USR1' USR1
trap 'ask stop TERM' TERM

srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpu-bind=none --label \
  "$program" launch node --pid-file="$pid_file" "${options[@]}" -- "${words[@]}" &
step=$!
while true; do
  wait "$step"
  status=$?
  # wait also returns when a signal came.
  kill -0 "$step" 2> /dev/null || break
done
if [ "$status" -eq 75 ] && [ "$asked" != stop ]; then
  echo "launch: queued again; it resumes from the last checkpoint"
  # Slurm ends this script; an end of its own could be taken for the end of the job that was queued again.
  scontrol requeue "$SLURM_JOB_ID" && sleep 300
fi
exit "$status"
"""


@dataclass(frozen=True)
class Options:
    """What Slurm alone wants to know.

    Attributes:
        time: limit, as Slurm writes it (``2-00:00:00``); None for the partition's.
        partition: queue.
        account: who pays.
        warning_s: seconds before the limit at which the checkpoint is saved and the job queued again.
        extra: further directives without ``#SBATCH``, such as ``--qos=high``.
    """

    time: str | None = None
    partition: str | None = None
    account: str | None = None
    warning_s: int = 600
    extra: tuple[str, ...] = ()


def render(job: Job, options: Options) -> Rendered:
    """The script and ``sbatch``.

    Raises:
        InputError: a directive that would break the script's head.
    """
    lines = ["#!/usr/bin/env bash", *(f"#SBATCH {word}" for word in directives(job, options))]
    lines += [f"# tr-grpo train on {job.nodes} nodes; made by tr-grpo launch slurm."]
    lines += [f"cd {shlex.quote(str(job.folder))} || exit 2"]
    lines += [f"program={shlex.quote(job.program)}", f"logs={shlex.quote(str(job.logs))}"]
    lines += array("options", job.node_options) + array("words", job.words)
    return Rendered({SCRIPT: "\n".join(lines) + "\n" + BODY}, (("sbatch", SCRIPT),))


def directives(job: Job, options: Options) -> list[str]:
    """Words after ``#SBATCH``."""
    if set('"\\') & set(str(job.logs)):
        raise InputError(f"trainer.default_local_dir={job.run_folder}: Slurm takes no quote and no backslash in a path")
    wanted = [
        "--job-name=" + re.sub(r"[^\w.+-]", "-", job.name),
        f"--nodes={job.nodes}",
        "--ntasks-per-node=1",
        *([f"--gpus-per-node={job.devices}"] if job.gpus else []),
        # Slurm has double quotes of its own here, and % begins a pattern.
        f'--output="{str(job.logs).replace("%", "%%")}/slurm-%j.log"',
        "--open-mode=append",
        "--export=ALL",
        "--requeue",
        f"--signal=B:USR1@{options.warning_s}",
        *(
            f"--{name}={value}"
            for name, value in (
                ("time", options.time),
                ("partition", options.partition),
                ("account", options.account),
            )
            if value is not None
        ),
        *options.extra,
    ]
    for word in wanted:
        if "\n" in word or not word.startswith("--"):
            raise InputError(f"{word!r} is no directive of Slurm; write it like --sbatch=--qos=high")
    return wanted


def array(name: str, words: Sequence[str]) -> list[str]:
    """A bash array, a word a line."""
    return [f"{name}=(", *(f"  {shlex.quote(word)}" for word in words), ")"]
