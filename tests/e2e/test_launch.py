"""``tr-grpo launch`` on the real thing: a Slurm, a running Ray, ssh; each trains, and nothing is left."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slurm_cluster
import sshd
import two_nodes
from conftest import MARK, Run

from tr_grpo.trainer.launch.job import Job
from tr_grpo.trainer.launch.slurm import SCRIPT, Options, render

LONGEST = 600.0  # seconds from a submission to the end of a short run, on a slow machine
TR_GRPO = str(Path(sys.executable).with_name("tr-grpo"))
pytestmark = pytest.mark.e2e
NewRun = Callable[..., Run]


def environ(run: Run, **more: str) -> dict[str, str]:
    """This process's, with the mark by which everything that the run starts is known."""
    return os.environ | {MARK: run.mark} | more


def ends(run: Run) -> list[str]:
    """How each start of the run ended."""
    events = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    return [event["status"] for event in events if event["event"] == "end"]


def until(condition: Callable[[], bool], seconds: float, log: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s:\n{log()[-4000:]}")
        time.sleep(0.5)


def need(lacking: str | None) -> None:
    """Skip with a reason, or fail where nothing may lack (CI)."""
    if lacking is not None and os.environ.get("TR_GRPO_REQUIRE_CLUSTERS"):
        pytest.fail(lacking)
    if lacking is not None:
        pytest.skip(lacking)


@pytest.fixture
def slurm() -> Iterator[slurm_cluster.Slurm]:
    need(slurm_cluster.why_not())
    with tempfile.TemporaryDirectory(prefix="slurm_", dir="/tmp") as folder, slurm_cluster.slurm(Path(folder)) as made:
        yield made


# In place of ``tr-grpo``: says what it was given, waits for a warning in its first start and is done in its second.
STAND_IN = """#!{python}
import json, os, signal, sys, time
with open({said!r}, "a") as file:
    file.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
if "SLURM_RESTART_COUNT" not in os.environ:
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
    pid_file = next(word for word in sys.argv if word.startswith("--pid-file=")).partition("=")[2]
    with open(pid_file, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(120)
"""
HARD_WORDS = (
    "+x=$HOME ${oc.env:HOME} $(id) `id` \\ * !!",
    "+y='it''s \"quoted\"'",
    "+z=\ta\nb ",
    "+ü=🙂 [1, {a: b}]",
    "",
)


def test_hard_words_and_a_warning_pass_through_a_real_slurm(slurm: slurm_cluster.Slurm, tmp_path: Path) -> None:
    """A stand-in for ``tr-grpo``, so in seconds; the run folder has what Slurm itself gives a meaning to."""
    said, program = tmp_path / "said", tmp_path / "tr-grpo"
    program.write_text(STAND_IN.format(python=sys.executable, said=str(said)))
    program.chmod(0o755)
    run_folder = tmp_path / "a b 50%"
    (run_folder / "logs").mkdir(parents=True)
    job = Job("two words", HARD_WORDS, 1, 1, False, run_folder, tmp_path, str(program), cpus=32)
    script = tmp_path / SCRIPT
    script.write_text(render(job, Options(time="10:00")).files[SCRIPT])
    number = int(slurm.ask("sbatch", str(script)).split()[-1])
    log = run_folder / "logs" / f"slurm-{number}.log"
    pid_file = run_folder / "logs" / f"{number}.pid"
    until(lambda: pid_file.exists() and bool(pid_file.read_text()), 60, lambda: str(slurm.job(number)))
    slurm.ask("scancel", "--batch", "--signal=USR1", str(number))
    until(lambda: slurm.job(number)["Restarts"] == "1", 60, log.read_text)
    slurm.ask("scontrol", "update", f"JobId={number}", "StartTime=now")
    until(lambda: slurm.job(number)["JobState"] == "COMPLETED", 60, log.read_text)

    starts = [json.loads(line) for line in said.read_text().splitlines()]
    assert len(starts) == 2
    for words, variables in starts:
        assert tuple(words[words.index("--") + 1 :]) == HARD_WORDS
        assert variables["TR_GRPO_HOSTS"] == slurm_cluster.host()
        assert variables["SLURM_NODEID"] == "0"
    assert starts[0][1]["RAY_AUTH_TOKEN"] != starts[1][1]["RAY_AUTH_TOKEN"]
    assert "queued again" in log.read_text()


def test_a_warned_slurm_job_saves_is_queued_again_and_ends_in_its_second_start(
    slurm: slurm_cluster.Slurm, new_run: NewRun
) -> None:
    run = new_run("slurm", "algo=tr_grpo", "trainer.total_training_steps=8", "trainer.save_freq=50")
    command = [TR_GRPO, "launch", "slurm", "cluster=cpu", "llm=tiny", *run.overrides]
    done = subprocess.run(
        command, env=environ(run) | slurm.environ, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    job = int(done.stdout.split()[-1])
    log = run.folder / "logs" / f"slurm-{job}.log"

    def printed() -> str:
        return log.read_text(errors="replace") if log.exists() else "no log"

    until(lambda: 1 in run.metrics, LONGEST, printed)
    slurm.ask("scancel", "--batch", "--signal=USR1", str(job))
    until(lambda: slurm.job(job)["Restarts"] == "1", LONGEST, printed)
    assert ends(run) == ["stopped"], printed()[-4000:]
    saved = run.last_checkpoint
    assert 1 <= saved < 8
    until(lambda: not run.leftovers(), 60, printed)

    # Slurm lets a job that was queued again wait two minutes.
    slurm.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
    until(lambda: slurm.job(job)["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"), LONGEST, printed)
    assert slurm.job(job)["JobState"] == "COMPLETED", printed()[-4000:]
    assert slurm.job(job)["ExitCode"] == "0:0"
    assert ends(run) == ["stopped", "done"]
    assert list(run.metrics) == list(range(1, 9))
    assert f"global_step_{saved}" in printed()
    run.assert_nothing_left(seconds=20)
    assert not list((run.folder / "logs").glob("*.pid"))


@pytest.fixture
def ray(tmp_path: Path, new_run: NewRun) -> Iterator[tuple[Run, str]]:
    """A Ray that runs, as somebody's cluster would, and a run for it; the Ray is stopped by pid."""
    run = new_run("ray", "algo=tr_grpo", "trainer.total_training_steps=1", "trainer.save_freq=-1")
    port, dashboard = slurm_cluster.free_ports(2)
    folder = tempfile.mkdtemp(prefix="ray_", dir="/tmp")
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    command = [
        *(str(Path(sys.executable).with_name("ray")), "start", "--head", f"--port={port}", "--num-gpus=1"),
        *("--num-cpus=32", f"--dashboard-port={dashboard}", f"--temp-dir={folder}", "--disable-usage-stats", "--block"),
    ]
    with (tmp_path / "ray.log").open("wb") as log:
        head = subprocess.Popen(command, env=environ(run, **token), stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{dashboard}"
        until(lambda: answers(dashboard), 120, (tmp_path / "ray.log").read_text)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in token.items():
                patch.setenv(name, value)
            yield run, address
    finally:
        head.terminate()
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_job_on_a_running_ray_trains_on_what_the_cluster_has(ray: tuple[Run, str]) -> None:
    run, address = ray
    command = [TR_GRPO, "launch", "ray", f"--address={address}", "--env=MY_CANARY", "cluster=cpu", *run.overrides]
    words = "trainer.experiment_name='two words'"
    done = subprocess.run(
        [*command, words],
        env=environ(run, MY_CANARY="canary-canary"),
        capture_output=True,
        text=True,
        timeout=LONGEST + 200,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "1 nodes with 1 devices each have joined" in done.stdout
    assert list(run.metrics) == [1]
    assert ends(run) == ["done"]
    assert "canary-canary" not in "".join(
        path.read_text(errors="replace")
        for path in run.folder.rglob("*")
        if path.is_file() and path.stat().st_size < 1e6
    )

    # The same job with a dead word fails, and says so with its status.
    broken = subprocess.run(
        [*command, "data.train_files=/nowhere.parquet"], env=environ(run, MY_CANARY="canary-canary"),
        capture_output=True, text=True, timeout=LONGEST, check=False,
    )  # fmt: skip
    assert broken.returncode == 1
    assert "TR201" in broken.stdout


# In place of ``tr-grpo``: reads what its launcher gives it, waits, and says what it was stopped by.
CONTROLLED = """#!{python}
import json, os, signal, sys, time
from tr_grpo.trainer.launch import control

def say(*what):
    with open({said!r} + os.uname().nodename, "a") as file:
        file.write(json.dumps(what) + "\\n")

def stop(number, frame):
    say(signal.Signals(number).name)
    sys.exit(75)

control.take()
signal.signal(signal.SIGTERM, stop)
say(sys.argv[sys.argv.index("--") + 1 :], os.environ["MY_VARIABLE"], os.environ["RAY_AUTH_TOKEN"])
time.sleep(120)
"""


def test_a_launcher_by_ssh_that_is_killed_leaves_nothing_running(new_run: NewRun, tmp_path: Path) -> None:
    """A stand-in for ``tr-grpo``, real sshd's; words and variables arrive as they were."""
    need(two_nodes.why_not() or sshd.why_not())
    run = new_run("ssh")
    program, said = tmp_path / "tr-grpo", tmp_path / "said-"
    program.write_text(CONTROLLED.format(python=sys.executable, said=str(said)))
    program.chmod(0o755)
    words = ["cluster=cpu", "+x='a \"b\" $c'"]
    with two_nodes.two_nodes([tmp_path]) as nodes, sshd.sshd(nodes, tmp_path) as ssh:
        command = [
            *(TR_GRPO, "launch", "ssh", f"--hosts={nodes[0].name},{nodes[1].name}", f"--ssh={ssh}", f"--env={MARK}"),
            *("--env=MY_VARIABLE", f"--program={program}", f"--out={tmp_path / 'launch'}", *words),
        ]
        log = tmp_path / "launcher.log"
        nodes[0].start(command, log, environ(run, MY_VARIABLE="a 'b'\n$c"))

        def heard(name: str) -> list[list]:
            path = Path(f"{said}{name}")
            return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

        until(lambda: all(heard(node.name) for node in nodes), LONGEST, log.read_text)
        (launcher,) = nodes[0].run(["pgrep", "--full", "tr-grpo launch ssh"]).stdout.split()
        nodes[0].run(["kill", "-KILL", launcher])
        until(lambda: all(len(heard(node.name)) == 2 for node in nodes), 60, log.read_text)
        tokens = set()
        for node in nodes:
            (given, variable, token), (signal_name,) = heard(node.name)
            assert given == words
            assert variable == "a 'b'\n$c"
            assert signal_name == "SIGTERM"
            tokens.add(token)
        assert len(tokens) == 1
        run.assert_nothing_left(seconds=20)


@pytest.mark.drill
def test_two_nodes_reached_by_ssh_join_hand_on_the_status_and_leave_nothing(
    new_run: NewRun, files: Path, tmp_path: Path
) -> None:
    """Up to the preflight of the training, which here refuses; what comes after is ``test_two_nodes.py``."""
    need(two_nodes.why_not() or sshd.why_not())
    run = new_run("ssh", "algo=tr_grpo", "data.train_files=/nowhere.parquet")
    with two_nodes.two_nodes([files, tmp_path]) as (head, worker), sshd.sshd((head, worker), tmp_path) as ssh:
        command = [
            *(TR_GRPO, "launch", "ssh", f"--hosts={head.name},{worker.name}", f"--ssh={ssh}", f"--env={MARK}"),
            *("cluster=cpu", *run.overrides),
        ]
        done = head.run(command, timeout=LONGEST, env=environ(run))
        assert done.returncode == 2, (done.stdout + done.stderr)[-4000:]
        assert f"{head.name}: launch: 2 nodes with 1 devices each have joined" in done.stdout
        assert "TR201" in done.stdout
        assert f"{worker.name}: launch: the head has left; stopping Ray here" in done.stdout
        logs = run.folder / "logs"
        assert "Ray runtime started" in (logs / f"{worker.name}.log").read_text()
        assert "TR201" in (logs / f"{head.name}.log").read_text()
        # Only the test's own sshd's are left, and they bear no mark.
        run.assert_nothing_left(seconds=5)

        # A host that ssh does not reach ends the launch, and the head with it.
        lost = head.run(
            [*command[:3], f"--hosts={head.name},10.77.0.9", *command[4:]], timeout=LONGEST, env=environ(run)
        )
        assert lost.returncode not in (0, 2)
        assert "10.77.0.9 ended with status 255" in lost.stderr
        run.assert_nothing_left(seconds=5)
