"""A RayJob of KubeRay, and the words of the run in a ConfigMap beside it.

KubeRay splits and joins an entry point again on its way to Ray, so the words travel in a file of their own.
"""

import re
import shlex
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.launch import document
from tr_grpo.trainer.launch.job import Job, Rendered

MANIFEST = "rayjob.yaml"
MOUNT = "/tr-grpo-launch"
SCRIPT = "train.sh"
LONGEST_NAME = 47
"""KubeRay's ``MaxRayJobNameLength``."""
RAY_PORTS = {"gcs-server": 6379, "dashboard": 8265}


@dataclass(frozen=True)
class Options:
    """What Kubernetes alone wants to know.

    Attributes:
        image: with this package and its stack installed.
        namespace: of the job.
        claim: PersistentVolumeClaim (ReadWriteMany) that all pods share; data, models and run folders are there.
        mount: where it is mounted.
        secret: of which the forwarded variables are keys (``kubectl create secret generic``).
        cpus: of each pod.
        memory: of each pod, e.g. ``256Gi``.
        shared_memory: size of ``/dev/shm``; a container's own is 64 MB.
        retries: new clusters after a failure or a preemption; each resumes from the last checkpoint.
    """

    image: str
    namespace: str = "default"
    claim: str | None = None
    mount: str = "/shared"
    secret: str | None = None
    cpus: int = 32
    memory: str = "128Gi"
    shared_memory: str = "32Gi"
    retries: int = 3


def render(job: Job, options: Options) -> Rendered:
    """The manifest and ``kubectl create``.

    Raises:
        InputError: variables to forward without a secret, or several nodes without a shared claim.
    """
    if job.variables and options.secret is None:
        raise InputError(f"--env {job.variables[0]}: name a secret that has it as a key, with --secret")
    if job.nodes > 1 and options.claim is None:
        raise InputError("several nodes share data and checkpoints: name a ReadWriteMany claim with --claim")
    documents = [config_map(job, options), ray_job(job, options)]
    text = document.dump(documents)
    return Rendered(
        {MANIFEST: text}, (("kubectl", "apply", f"--namespace={options.namespace}", f"--filename={MANIFEST}"),)
    )


def config_map(job: Job, options: Options) -> dict[str, Any]:
    """The script that the entry point runs."""
    drive = [job.program, "launch", "drive", f"--nodes={job.nodes}", f"--devices={job.devices}", f"--wait={job.wait_s}"]
    words = " \\\n  ".join(shlex.quote(word) for word in job.words)
    script = f"set -e\ncd {shlex.quote(str(job.folder))}\nexec {shlex.join(drive)} -- \\\n  {words}\n"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{object_name(job.name)}-words", "namespace": options.namespace},
        "data": {SCRIPT: script},
    }


def ray_job(job: Job, options: Options) -> dict[str, Any]:
    """The RayJob: a cluster of its own, the entry point on its head, and no pod left when it is done."""
    pod = _pod(job, options)
    start = {} if job.gpus else {"num-gpus": str(job.devices)}
    if job.cpus is not None:
        start["num-cpus"] = str(job.cpus)
    workers = {
        "groupName": "workers",
        "replicas": job.nodes - 1,
        "minReplicas": job.nodes - 1,
        "maxReplicas": job.nodes - 1,
        "rayStartParams": start,
        "template": {"spec": pod},
    }
    # The operator asks the dashboard from another pod; Ray's token guards it.
    head = {"rayStartParams": {"dashboard-host": "0.0.0.0", **start}, "template": {"spec": _head(pod)}}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": object_name(job.name), "namespace": options.namespace},
        "spec": {
            "entrypoint": f"bash {MOUNT}/{SCRIPT}",
            "submissionMode": "HTTPMode",
            "shutdownAfterJobFinishes": True,
            "backoffLimit": options.retries,
            "rayClusterSpec": {
                # The operator gives no token to a Ray whose version it is not told.
                "rayVersion": metadata.version("ray"),
                "authOptions": {"mode": "token"},
                "headGroupSpec": head,
                "workerGroupSpecs": [workers] if job.nodes > 1 else [],
            },
        },
    }


def _pod(job: Job, options: Options) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": "words", "configMap": {"name": f"{object_name(job.name)}-words"}},
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": options.shared_memory}},
    ]
    mounts = [{"name": "words", "mountPath": MOUNT}, {"name": "shared-memory", "mountPath": "/dev/shm"}]
    if options.claim is not None:
        volumes.append({"name": "shared", "persistentVolumeClaim": {"claimName": options.claim}})
        mounts.append({"name": "shared", "mountPath": options.mount})
    limits: dict[str, Any] = {"cpu": options.cpus, "memory": options.memory}
    if job.gpus:
        limits["nvidia.com/gpu"] = job.devices
    variables = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": options.secret, "key": name}}} for name in job.variables
    ]
    container = {
        "name": "ray",
        "image": options.image,
        "resources": {"limits": limits, "requests": dict(limits)},
        **({"env": variables} if variables else {}),
        "volumeMounts": mounts,
    }
    return {"containers": [container], "volumes": volumes}


def _head(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["containers"]
    ports = [{"name": name, "containerPort": port} for name, port in RAY_PORTS.items()]
    return pod | {"containers": [container | {"ports": ports}]}


def object_name(name: str) -> str:
    """A name that Kubernetes takes (RFC 1123): lower case, digits and dashes."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:LONGEST_NAME].strip("-")
    if not plain:
        raise InputError(f"trainer.experiment_name={name!r} has no letter or digit that Kubernetes could use")
    return plain if plain[0].isalpha() else f"run-{plain}"[:LONGEST_NAME].strip("-")
