"""A SkyPilot task: machines of any cloud; SkyPilot starts the same supervisor on each."""

import shlex
from dataclasses import dataclass
from typing import Any

from tr_grpo.trainer.launch import document
from tr_grpo.trainer.launch.job import Job, Rendered
from tr_grpo.trainer.launch.kubernetes import object_name

TASK = "task.yaml"
PORT = 6379
"""SkyPilot's own Ray has 6380."""


@dataclass(frozen=True)
class Options:
    """What SkyPilot alone wants to know.

    Attributes:
        accelerator: a GPU by SkyPilot's name, e.g. ``H100``; the number is the run's.
        infra: where, e.g. ``aws/us-east-1`` or ``k8s``; None for the cheapest.
        image: a machine's or a container's (``docker:…``).
        spot: machines that can be taken away; with ``managed`` they are replaced.
        setup: shell commands that install this package; once a machine.
        volume: a bucket (``s3://…``) that is mounted at ``mount`` on all nodes.
        mount: where it is mounted.
        managed: ``sky jobs launch`` (starts again after a preemption) instead of ``sky launch``.
        cpus: at least so many on each node, e.g. ``32+``.
    """

    accelerator: str | None = None
    infra: str | None = None
    image: str | None = None
    spot: bool = False
    setup: str | None = None
    volume: str | None = None
    mount: str = "/shared"
    managed: bool = False
    cpus: str | None = None


def render(job: Job, options: Options) -> Rendered:
    """The task and ``sky launch``; SkyPilot takes the variables' values from its caller's environment."""
    command = ("sky", "jobs", "launch") if options.managed else ("sky", "launch")
    given = [word for name in secrets(job) for word in ("--secret", name)]
    text = document.dump([task(job, options)])
    return Rendered({TASK: text}, ((*command, "--yes", "--name", object_name(job.name), *given, TASK),))


def secrets(job: Job) -> list[str]:
    """Names whose values are given on submission; a null in the task asks for them."""
    return sorted({"RAY_AUTH_TOKEN", *job.variables})


def task(job: Job, options: Options) -> dict[str, Any]:
    """The task's document."""
    resources: dict[str, Any] = {}
    if job.gpus:
        resources["accelerators"] = f"{options.accelerator or 'H100'}:{job.devices}"
    for key, value in (("infra", options.infra), ("image_id", options.image), ("cpus", options.cpus)):
        if value is not None:
            resources[key] = value
    if options.spot:
        resources["use_spot"] = True
    node = [job.program, "launch", "node", f"--port={PORT}", *job.node_options]
    words = " \\\n  ".join(shlex.quote(word) for word in job.words)
    return {
        "name": object_name(job.name),
        "num_nodes": job.nodes,
        **({"resources": resources} if resources else {}),
        "secrets": dict.fromkeys(secrets(job)),
        **({"file_mounts": {options.mount: {"source": options.volume, "mode": "MOUNT"}}} if options.volume else {}),
        **({"setup": options.setup} if options.setup else {}),
        # Rank, hosts and devices are read from SKYPILOT_NODE_RANK, SKYPILOT_NODE_IPS and SKYPILOT_NUM_GPUS_PER_NODE.
        "run": f"cd {shlex.quote(str(job.folder))} && exec {shlex.join(node)} -- \\\n  {words}\n",
    }
