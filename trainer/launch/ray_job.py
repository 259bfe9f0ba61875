"""A job on a Ray that runs already, through its dashboard."""

import os
import shlex
import sys
import time
from dataclasses import dataclass
from typing import Any

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.launch.job import Job, Rendered

REQUEST = "job.json"
AGENT_S = 60.0
NO_AGENT = "No available agent"
POLL_S = 1.0


@dataclass(frozen=True)
class Options:
    """What Ray alone wants to know.

    Attributes:
        address: of the dashboard.
        working_dir: a folder that Ray copies to the nodes; None where the code is installed there.
        follow: print the job's log and wait for its end.
    """

    address: str = "http://127.0.0.1:8265"
    working_dir: str | None = None
    follow: bool = True


def render(job: Job, options: Options) -> Rendered:
    """The command line that submits the same; :func:`submit` asks Ray itself."""
    upload = [] if options.working_dir is None else [f"--working-dir={options.working_dir}"]
    wait = [] if options.follow else ["--no-wait"]
    command = ("ray", "job", "submit", f"--address={options.address}", *upload, *wait, "--", *entrypoint(job))
    return Rendered({"entrypoint.sh": shlex.join(entrypoint(job)) + "\n"}, (command,))


def entrypoint(job: Job) -> list[str]:
    """What Ray's supervisor starts on the head; nodes and devices are counted there."""
    script = f'cd {shlex.quote(str(job.folder))} && exec "$@"'
    return ["bash", "-c", script, "launch", job.program, "launch", "drive", f"--wait={job.wait_s}", "--", *job.words]


def submit(job: Job, options: Options) -> int:
    """Submit, and follow to the end where that is asked.

    Args:
        job: the run; its variables' values go to Ray in the job's runtime environment, for a running Ray's own
            environment cannot be changed any more.
        options: where to.

    Returns:
        0 where the job succeeded (or was only submitted), 1 where it failed or was stopped.

    Raises:
        InputError: no Ray answers there, or it refuses.
    """
    from ray.job_submission import JobStatus, JobSubmissionClient

    runtime_env: dict[str, Any] = {"env_vars": {name: os.environ[name] for name in job.variables}}
    if options.working_dir is not None:
        runtime_env["working_dir"] = options.working_dir
    try:
        client = JobSubmissionClient(options.address)
        name = _submit(client, shlex.join(entrypoint(job)), runtime_env)
    except (ConnectionError, RuntimeError, ValueError) as problem:
        reason = " ".join(str(problem).split())
        raise InputError(f"{options.address} does not take the job: {reason}") from problem
    print(f"launch: {name} submitted; `ray job stop {name}` stops it", file=sys.stderr)
    if not options.follow:
        return 0
    shown = 0
    try:
        while True:
            status = client.get_job_status(name)
            log = client.get_job_logs(name)
            sys.stdout.write(log[shown:])
            sys.stdout.flush()
            shown = len(log)
            if status.is_terminal():
                break
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        print(f"launch: stopping {name}", file=sys.stderr)
        client.stop_job(name)
        return 130
    print(f"launch: {name} {status.value.lower()}", file=sys.stderr)
    return 0 if status == JobStatus.SUCCEEDED else 1


def _submit(client: Any, command: str, runtime_env: dict[str, Any]) -> str:
    """Submit; a Ray that has just started has no agent yet that takes jobs, and says so."""
    deadline = time.monotonic() + AGENT_S
    while True:
        try:
            return client.submit_job(entrypoint=command, runtime_env=runtime_env)
        except RuntimeError as problem:
            if NO_AGENT not in str(problem) or time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
