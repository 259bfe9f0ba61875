"""``tr-grpo launch``: one subcommand a scheduler, and what they start on the nodes (``node``, ``drive``)."""

import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tr_grpo.data_prep.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from tr_grpo.trainer.launch.job import Job, Rendered

app = typer.Typer(no_args_is_help=True)

Words = Annotated[list[str] | None, typer.Argument(help="The words of tr-grpo train; trainer.nnodes=N for N nodes.")]
Env = Annotated[list[str] | None, typer.Option("--env", help="A variable that goes along, by its name; repeatable.")]
Wait = Annotated[int, typer.Option(help="Seconds that the head waits for the other nodes.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write and print all that would run; submit nothing.")]
Out = Annotated[Path | None, typer.Option(help="Where the files are written; <run folder>/launch if not given.")]
Program = Annotated[str | None, typer.Option(help="tr-grpo on the nodes; this one if not given.")]
Folder = Annotated[Path | None, typer.Option(help="Where tr-grpo is run on the nodes; here if not given.")]
Dashboard = Annotated[
    str, typer.Option(help="Address of Ray's dashboard on the head; 0.0.0.0 opens it to the network.")
]
LOOPBACK = "127.0.0.1"


@app.command()
def slurm(
    words: Words = None,
    time: Annotated[str | None, typer.Option(help="Time limit, e.g. 2-00:00:00.")] = None,
    partition: Annotated[str | None, typer.Option(help="Queue.")] = None,
    account: Annotated[str | None, typer.Option(help="Who pays.")] = None,
    warning: Annotated[int, typer.Option(help="Seconds before the limit at which it saves and queues again.")] = 600,
    sbatch: Annotated[
        list[str] | None, typer.Option(help="A further directive, --sbatch=--qos=high; repeatable.")
    ] = None,
    env: Env = None,
    wait: Wait = 600,
    dashboard_host: Dashboard = LOOPBACK,
    program: Program = None,
    dry_run: DryRun = False,
    out: Out = None,
) -> None:
    """Submit to Slurm; a job that is stopped before its end saves a checkpoint and is queued again."""
    from tr_grpo.trainer.launch import environment, slurm
    from tr_grpo.trainer.launch.job import make

    variables = environment.names(os.environ, env or ())
    job, config = make(words or (), variables, program=program, wait_s=wait, dashboard_host=dashboard_host)
    options = slurm.Options(time, partition, account, warning, tuple(sbatch or ()))
    folder = write(job, config, slurm.render(job, options), out or job.run_folder / "launch", dry_run)
    job.logs.mkdir(parents=True, exist_ok=True)
    raise typer.Exit(run(("sbatch", slurm.SCRIPT), folder))


@app.command()
def ray(
    words: Words = None,
    address: Annotated[str, typer.Option(help="Of Ray's dashboard.")] = "http://127.0.0.1:8265",
    working_dir: Annotated[str | None, typer.Option(help="A folder that Ray copies to the nodes.")] = None,
    follow: Annotated[bool, typer.Option(help="Print the log and wait for the end.")] = True,
    env: Env = None,
    wait: Wait = 600,
    folder: Folder = None,
    program: Program = None,
    dry_run: DryRun = False,
    out: Out = None,
) -> None:
    """Submit to a Ray that runs; all its nodes are used, and the variables of --env alone go along."""
    from tr_grpo.trainer.launch import environment, ray_job
    from tr_grpo.trainer.launch.job import make

    environment.names(os.environ, env or ())
    job, config = make(words or (), tuple(env or ()), folder=folder, program=program, wait_s=wait)
    options = ray_job.Options(address, working_dir, follow)
    write(job, config, ray_job.render(job, options), out or _beside(job, folder), dry_run)
    raise typer.Exit(ray_job.submit(job, options))


@app.command()
def kubernetes(
    image: Annotated[str, typer.Option(help="With tr-grpo and its stack installed.")],
    words: Words = None,
    namespace: Annotated[str, typer.Option(help="Of the job.")] = "default",
    claim: Annotated[str | None, typer.Option(help="ReadWriteMany claim that all pods mount.")] = None,
    mount: Annotated[str, typer.Option(help="Where the claim is mounted.")] = "/shared",
    secret: Annotated[str | None, typer.Option(help="Its keys are the variables of --env.")] = None,
    cpus: Annotated[int, typer.Option(help="Of each pod.")] = 32,
    memory: Annotated[str, typer.Option(help="Of each pod.")] = "128Gi",
    shared_memory: Annotated[str, typer.Option(help="/dev/shm of each pod.")] = "32Gi",
    retries: Annotated[int, typer.Option(help="New clusters after a failure; each resumes.")] = 3,
    env: Annotated[list[str] | None, typer.Option("--env", help="A key of --secret; repeatable.")] = None,
    wait: Wait = 600,
    folder: Annotated[Path | None, typer.Option(help="Where it runs in the pods; --mount if not given.")] = None,
    program: Annotated[str, typer.Option(help="tr-grpo in the image.")] = "tr-grpo",
    dry_run: DryRun = False,
    out: Out = None,
) -> None:
    """Submit to Kubernetes as a RayJob (KubeRay 1.5.1 or newer)."""
    from tr_grpo.trainer.launch import kubernetes
    from tr_grpo.trainer.launch.job import make

    job, config = make(words or (), tuple(env or ()), folder=folder or Path(mount), program=program, wait_s=wait)
    options = kubernetes.Options(image, namespace, claim, mount, secret, cpus, memory, shared_memory, retries)
    rendered = kubernetes.render(job, options)
    at = write(job, config, rendered, out or _beside(job, folder or Path(mount)), dry_run)
    raise typer.Exit(run(rendered.commands[0], at))


@app.command()
def skypilot(
    words: Words = None,
    accelerator: Annotated[str | None, typer.Option(help="GPU by SkyPilot's name; H100 if not given.")] = None,
    infra: Annotated[str | None, typer.Option(help="aws, gcp/us-central1, k8s …; the cheapest if not given.")] = None,
    image: Annotated[str | None, typer.Option(help="docker:… or a machine image.")] = None,
    spot: Annotated[bool, typer.Option("--spot", help="Machines that can be taken away.")] = False,
    managed: Annotated[bool, typer.Option("--managed", help="sky jobs launch: goes on after a preemption.")] = False,
    setup: Annotated[str | None, typer.Option(help="Shell commands that install tr-grpo.")] = None,
    volume: Annotated[str | None, typer.Option(help="Bucket that all nodes mount, s3://….")] = None,
    mount: Annotated[str, typer.Option(help="Where it is mounted.")] = "/shared",
    cpus: Annotated[str | None, typer.Option(help="Of each node, 32+.")] = None,
    env: Env = None,
    wait: Wait = 600,
    folder: Annotated[Path | None, typer.Option(help="Where it runs on the nodes; --mount if not given.")] = None,
    program: Annotated[str, typer.Option(help="tr-grpo on the nodes.")] = "tr-grpo",
    dry_run: DryRun = False,
    out: Out = None,
) -> None:
    """Submit to SkyPilot: machines of any cloud."""
    from tr_grpo.trainer.launch import environment, skypilot
    from tr_grpo.trainer.launch.job import make

    environment.names(os.environ, env or ())
    job, config = make(words or (), tuple(env or ()), folder=folder or Path(mount), program=program, wait_s=wait)
    options = skypilot.Options(accelerator, infra, image, spot, setup, volume, mount, managed, cpus)
    rendered = skypilot.render(job, options)
    at = write(job, config, rendered, out or _beside(job, folder or Path(mount)), dry_run)
    token = os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)
    raise typer.Exit(run(rendered.commands[0], at, {"RAY_AUTH_TOKEN": token}))


@app.command()
def ssh(
    words: Words = None,
    hosts: Annotated[str | None, typer.Option(help="node1,node2; the first is the head.")] = None,
    hostfile: Annotated[Path | None, typer.Option(help="A host a line.")] = None,
    port: Annotated[int, typer.Option(help="Of Ray's head.")] = 6379,
    ssh_program: Annotated[str, typer.Option("--ssh", help="ssh with its options.")] = "ssh",
    env: Env = None,
    wait: Wait = 600,
    dashboard_host: Dashboard = LOOPBACK,
    folder: Folder = None,
    program: Program = None,
    dry_run: DryRun = False,
    out: Out = None,
) -> None:
    """Start on machines that ssh reaches without a password, follow them, and stop them with Ctrl-C."""
    from tr_grpo.trainer.launch import environment, ssh
    from tr_grpo.trainer.launch.job import make

    named = ssh.hosts(hosts, hostfile)
    variables = environment.names(os.environ, env or ())
    job, config = make(words or (), variables, len(named), folder, program, wait, dashboard_host)
    options = ssh.Options(named, port, tuple(shlex.split(ssh_program)))
    at = write(job, config, ssh.render(job, options), out or _beside(job, folder), dry_run)
    raise typer.Exit(ssh.run(job, options, at / "logs"))


@app.command(context_settings={"ignore_unknown_options": True})
def node(
    hosts: Annotated[str, typer.Option(envvar=["TR_GRPO_HOSTS", "SKYPILOT_NODE_IPS"], help="All nodes, head first.")],
    rank: Annotated[int, typer.Option(envvar=["TR_GRPO_RANK", "SLURM_NODEID", "SKYPILOT_NODE_RANK"])],
    logs: Annotated[Path, typer.Option(envvar="TR_GRPO_LOGS", help="Where this node's log is written.")],
    words: Words = None,
    devices: Annotated[
        int | None,
        typer.Option(
            envvar=["TR_GRPO_DEVICES", "SLURM_GPUS_ON_NODE", "SKYPILOT_NUM_GPUS_PER_NODE"],
            help="GPUs of this node; counted with nvidia-smi if not given.",
        ),
    ] = None,
    cpus: Annotated[int | None, typer.Option(envvar="TR_GRPO_CPUS", help="What Ray counts as CPUs.")] = None,
    port: Annotated[int, typer.Option(envvar="TR_GRPO_PORT", help="Of Ray's head.")] = 6379,
    wait: Annotated[int, typer.Option(envvar="TR_GRPO_WAIT", help="Seconds to wait for the other nodes.")] = 600,
    dashboard_host: Dashboard = LOOPBACK,
    no_dashboard: Annotated[bool, typer.Option("--no-dashboard", help="Start none.")] = False,
    pid_file: Annotated[Path | None, typer.Option(help="Where the head writes its pid.")] = None,
    controlled: Annotated[bool, typer.Option("--controlled", help="Variables and signals on standard input.")] = False,
) -> None:
    """One node, under any scheduler: starts Ray here and, on the first node, the training; stops all it started."""
    from tr_grpo.trainer.launch import control
    from tr_grpo.trainer.launch.machine import count_gpus
    from tr_grpo.trainer.launch.node import Node
    from tr_grpo.trainer.launch.node import run as run_node

    if controlled:
        control.take()
    named = tuple(re.split(r"[,\s]+", hosts.strip(", \n")))
    if not 0 <= rank < len(named):
        raise InputError(f"--rank={rank}: there are {len(named)} hosts, so the ranks are 0 to {len(named) - 1}")
    here = Node(
        named,
        rank,
        devices if devices is not None else count_gpus(),
        cpus,
        port,
        wait,
        logs,
        None if no_dashboard else dashboard_host,
        pid_file if rank == 0 else None,
    )
    raise typer.Exit(run_node(here, words or ()))


@app.command(context_settings={"ignore_unknown_options": True})
def drive(
    words: Words = None,
    nodes: Annotated[int | None, typer.Option(help="Nodes to wait for; those that are there if not given.")] = None,
    devices: Annotated[int | None, typer.Option(help="Of each node; what they have if not given.")] = None,
    hosts: Annotated[str, typer.Option(help="Their names by rank.")] = "",
    wait: Wait = 600,
) -> None:
    """Wait until the nodes have joined the Ray of RAY_ADDRESS, then train on them."""
    from tr_grpo.trainer.launch import drive

    drive.drive(words or (), nodes, devices, tuple(host for host in hosts.split(",") if host), wait)


def write(job: "Job", config: "DictConfig", rendered: "Rendered", folder: Path, dry_run: bool) -> Path:
    """Check the run, write all that would run into ``folder``, and end there where that is what was asked.

    Raises:
        InputError: the run cannot work anywhere, or a secret would be written.
        typer.Exit: after a dry run.
    """
    from omegaconf import OmegaConf

    from tr_grpo.trainer.launch.environment import refuse_secrets
    from tr_grpo.trainer.launch.job import check
    from tr_grpo.trainer.main import without_secrets

    commands = "".join(shlex.join(command) + "\n" for command in rendered.commands)
    files = {**rendered.files, "command.sh": commands}
    refuse_secrets(files, os.environ)
    check(config)
    files["config.yaml"] = OmegaConf.to_yaml(without_secrets(config))
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    if dry_run:
        for name, text in files.items():
            print(f"# {(folder / name).absolute()}\n{text}")
        raise typer.Exit(0)
    print(f"launch: {job.nodes} nodes; what is submitted is in {folder.absolute()}", file=sys.stderr)
    return folder


def run(command: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None) -> int:
    """The scheduler's own command, from the folder of the files; its exit status."""
    if shutil.which(command[0]) is None:
        raise InputError(f"{command[0]} is not installed here; its files are in {folder.absolute()}")
    return subprocess.run(command, cwd=folder, env=os.environ | (environ or {}), check=False).returncode


def _beside(job: "Job", folder: Path | None) -> Path:
    """The run folder where it is of this machine, else one of its name below here."""
    return (job.run_folder if folder is None else Path("outputs") / job.name) / "launch"
