"""Preflight of the nodes: made answers provoke each code, sound ones are silent."""

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from findings import Run, codes
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer import doctor
from tr_grpo.trainer.preflight import Examination, cluster
from tr_grpo.trainer.preflight.cluster import probe
from tr_grpo.trainer.preflight.cluster.comparison import (
    CLOCK_S,
    Answer,
    Offset,
    Place,
    Wanted,
    best_offset,
    compare,
    disconnected,
    not_joined,
)
from tr_grpo.trainer.preflight.cluster.probe import Facts, Loaded, Prober, Questions
from tr_grpo.trainer.preflight.finding import Finding, Severity, error

WANTED = Wanted(nodes=2, devices=4, run_folder="/shared/outputs", built_for="13.0")
FACTS = Facts(
    versions={"torch": "2.11.0", "verl": "0.9.1", "python": "3.11.7"},
    settings={"NCCL_DEBUG": "WARN"},
    gpus=("H200",) * 4,
    driver=(13, 0),
    shared_memory=64.0,
    disks={"/shared/outputs": 900.0, "/tmp": 90.0},
    open_files=65536.0,
    sees_run=True,
    write_fault=None,
    missing=(),
)


def answer(number: int, **changes: Any) -> Answer:
    """A sound node of four devices."""
    whole = Answer(
        Place(f"node-{number}", f"10.0.0.{number}", 4, 4, 32), FACTS, Offset(0.002, 0.001), Loaded({}, None), None
    )
    return replace(whole, **changes)


def two(**changes: Any) -> list[Finding]:
    """The findings of a sound node and of one with these facts changed."""
    return list(compare([answer(1), answer(2, facts=replace(FACTS, **changes))], WANTED))


def test_sound_nodes_have_no_finding() -> None:
    assert list(compare([answer(1), answer(2)], WANTED)) == []
    assert list(disconnected({})) == []
    assert list(not_joined({}, "gloo", [answer(1), answer(2)])) == []


def test_a_version_that_differs_is_named_with_its_node() -> None:
    (finding,) = two(versions={**FACTS.versions, "torch": "2.10.0"})
    assert finding.code == "TR541"
    assert finding.severity is Severity.ERROR
    assert "torch" in finding.message
    assert "2.10.0 on node-2 (10.0.0.2)" in finding.message
    assert codes(two(versions={"verl": "0.9.1", "python": "3.11.7"})) == ["TR541"]  # absent there


def test_the_odd_one_out_of_many_is_named_first_and_the_many_are_not_listed() -> None:
    many = [answer(number) for number in range(1, 41)]
    many[6] = answer(7, facts=replace(FACTS, versions={**FACTS.versions, "verl": "0.9.0"}))
    (finding,) = compare(many, replace(WANTED, nodes=40))
    assert finding.message.index("0.9.0 on node-7") < finding.message.index("0.9.1 on node-1 ")
    assert "36 more" in finding.message
    assert len(finding.message) < 300


def test_a_head_without_devices_may_have_another_stack() -> None:
    head = answer(3, place=Place("head", "10.0.0.9", 0, 0, 8), facts=replace(FACTS, versions={"verl": "0.9.1"}))
    found = list(compare([answer(1), answer(2), head], WANTED))
    assert codes(found) == ["TR541"] * 2  # torch, python
    assert {finding.severity for finding in found} == {Severity.WARNING}


def test_variables_that_differ_are_named_and_their_values_are_not_shown() -> None:
    (finding,) = two(settings={"NCCL_DEBUG": "WARN", "HF_TOKEN": "hf_secret"})
    assert (finding.code, finding.severity) == ("TR541", Severity.WARNING)
    assert "HF_TOKEN" in finding.message
    assert "hf_secret" not in finding.message + finding.fix
    # Interfaces have other names on other machines.
    assert two(settings={"NCCL_DEBUG": "WARN", "NCCL_SOCKET_IFNAME": "ens5"}) == []


def test_a_package_that_does_not_load_is_named_with_its_node() -> None:
    (finding,) = compare([answer(1), answer(2, loaded=Loaded({"vllm": "undefined symbol: x"}, None))], WANTED)
    assert finding.code == "TR542"
    assert "vllm does not load on node-2 (10.0.0.2): undefined symbol: x" in finding.message


@given(ahead=st.floats(-1e6, 1e6), error=st.floats(0, 1e3))
def test_a_clock_is_wrong_only_beyond_what_the_round_trip_leaves_open(ahead: float, error: float) -> None:
    found = list(compare([answer(1), answer(2, clock=Offset(ahead, error))], WANTED))
    assert codes(found) == ["TR543"] * (abs(ahead) - error > CLOCK_S)


def test_a_clock_says_which_way_it_is_wrong() -> None:
    (late,) = compare([answer(1), answer(2, clock=Offset(-7.5, 0.25))], WANTED)
    assert late.code == "TR543"
    assert "7.50 s (error at most 0.25 s) behind" in late.message
    (early,) = compare([answer(1), answer(2, clock=Offset(7.5, 0.25))], WANTED)
    assert "ahead of" in early.message


def test_a_run_folder_that_is_another_one_there_or_cannot_be_written_is_found() -> None:
    assert codes(two(sees_run=False)) == ["TR544"]
    (finding,) = two(write_fault="Read-only file system")
    assert finding.code == "TR544"
    assert "node-2 (10.0.0.2) cannot write below /shared/outputs (Read-only file system)" in finding.message


def test_data_that_are_not_there_are_named() -> None:
    (finding,) = two(missing=("/data/train.parquet", "/models/qwen"))
    assert finding.code == "TR545"
    assert "node-2 (10.0.0.2) cannot read /data/train.parquet, /models/qwen" in finding.message


def test_a_loss_that_a_worker_does_not_know_is_found() -> None:
    (finding,) = compare([answer(1), answer(2, loaded=Loaded({}, "ModuleNotFoundError: mine"))], WANTED)
    assert finding.code == "TR546"
    assert "node-2" in finding.message
    assert "ModuleNotFoundError: mine" in finding.message


def test_pairs_that_do_not_connect_are_named_three_at_most() -> None:
    (finding,) = disconnected({("a", "b"): "timed out"})
    assert finding.code == "TR547"
    assert finding.message == "a does not reach b (timed out)"
    (finding,) = disconnected({("a", str(number)): "timed out" for number in range(9)})
    assert "and 6 more pairs" in finding.message


def test_a_group_that_fails_over_working_connections_blames_the_interface_that_is_named() -> None:
    astray = answer(2, facts=replace(FACTS, settings={"GLOO_SOCKET_IFNAME": "lo"}))
    (finding,) = not_joined({"node-1 (10.0.0.1)": "Connection refused"}, "gloo", [answer(1), astray])
    assert finding.code == "TR547"
    assert "GLOO_SOCKET_IFNAME=lo on node-2 (10.0.0.2)" in finding.message
    assert "Connection refused" in finding.message
    assert "GLOO_SOCKET_IFNAME" in finding.fix


@pytest.mark.parametrize(
    ("places", "enough"),
    [
        ([(4, 4, 32), (4, 4, 32)], True),
        ([(8, 8, 32)], True),  # verl puts both groups on one node
        ([(8, 8, 23)], False),  # 12 CPUs for each group
        ([(4, 4, 32), (4, 3, 32)], False),  # one is in use
        ([(4, 4, 32), (2, 2, 32), (2, 2, 32)], False),  # four on one node
        ([(0, 0, 8), (4, 4, 12), (4, 4, 12)], True),  # a head without devices
        ([(4, 4, 12), (4, 4, 12)], False),  # no CPU for the trainer
        ([], False),
    ],
)
def test_nodes_are_enough_where_verls_placement_groups_fit(places: list[tuple[int, int, int]], enough: bool) -> None:
    answers = [answer(i, place=Place(f"node-{i}", f"10.0.0.{i}", *place)) for i, place in enumerate(places)]
    found = list(compare(answers, WANTED))
    assert codes(found) == ([] if enough else ["TR548"])
    for one in answers if found else []:
        assert one.place.name in found[0].message


def test_a_node_that_is_silent_is_named_and_its_devices_do_not_count() -> None:
    silent = replace(answer(3), facts=None, clock=None, loaded=None, silence="facts: nothing within 90 s")
    (few, _) = compare([answer(1), silent], WANTED)
    assert few.code == "TR548"
    assert "node-1 (10.0.0.1): 4 of 4" in few.message
    (finding,) = compare([answer(1), answer(2), silent], WANTED)
    assert finding.code == "TR549"
    assert "node-3 (10.0.0.3) did not answer: facts: nothing within 90 s" in finding.message


def test_what_is_little_on_one_machine_is_little_on_each_of_many() -> None:
    assert codes(two(shared_memory=0.06)) == ["TR503"]
    assert codes(two(disks={"/tmp": 0.1, "/shared/outputs": 900.0})) == ["TR505"]
    assert codes(two(open_files=1024.0)) == ["TR509"]
    assert codes(two(driver=(12, 8))) == ["TR531"]
    assert codes(two(open_files=float("inf"), driver=None)) == []


def test_a_run_with_a_ray_of_its_own_asks_nobody(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "check", lambda config: pytest.fail("asked"))
    assert cluster.check_or_raise(run()) == []


def test_what_is_wrong_with_a_node_stops_the_run_and_a_warning_does_not(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    config = run("ray_kwargs.ray_init.address=10.0.0.1:6379")
    late = answer(2, clock=Offset(-7.5, 0.25))
    monkeypatch.setattr(cluster, "check", lambda config: list(compare([answer(1), late], WANTED)))
    assert codes(cluster.check_or_raise(config)) == ["TR543"]
    assert "TR543" in capsys.readouterr().err
    monkeypatch.setattr(cluster, "check", lambda config: list(compare([answer(1)], WANTED)))
    with pytest.raises(InputError, match=r"^TR548 .*node-1 \(10\.0\.0\.1\)"):
        cluster.check_or_raise(config)


def test_the_doctor_asks_no_node_about_a_loss_that_verl_does_not_know(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "check", lambda config: [error("TR549", "node-2 did not answer", "look at it")])
    unknown = Examination((error("TR412", "loss_mode=mine", "register it"),), ())
    assert doctor.with_cluster(run(), unknown) == Examination(unknown.findings, ("every node",))
    assert codes(list(doctor.with_cluster(run(), Examination((), ())).findings)) == ["TR549"]


def test_arguments_that_a_running_ray_refuses_are_one_finding(run: Run, tmp_path: Path) -> None:
    """num_cpus and num_gpus of cluster=cpu; Ray looks at them before it connects. No file is left behind."""
    config = run("ray_kwargs.ray_init.address=127.0.0.1:1")
    OmegaConf.resolve(config)
    (finding,) = cluster.check(config)
    assert finding.code == "TR506"
    assert "num_gpus" in finding.fix
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("refusal", [ConnectionError("nobody there"), RuntimeError("Version mismatch")])
def test_a_ray_that_cannot_be_joined_is_one_finding(
    run: Run, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    def refuse(**arguments: object) -> None:
        raise refusal

    monkeypatch.setattr("ray.init", refuse)
    config = run("ray_kwargs.ray_init.address=10.0.0.1:6379")
    OmegaConf.resolve(config)
    (finding,) = cluster.check(config)
    assert finding.code == "TR510"
    assert "10.0.0.1:6379" in finding.message
    assert str(refusal) in finding.message


def questions(run: Run, folder: Path) -> Questions:
    config = run(f"paths.outputs={folder}", "algo=tr_grpo")
    OmegaConf.resolve(config)
    with cluster._token(config) as asked:
        assert (folder / asked.token).exists()
    assert list(folder.iterdir()) == []
    return asked


def test_a_node_that_shares_everything_says_so_and_leaves_no_file(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    asked = questions(run, folder)
    (folder / asked.token).touch()
    facts = Prober().facts(asked)
    assert (facts.sees_run, facts.write_fault, facts.missing) == (True, None, ())
    assert facts.versions["verl"] == "0.9.1"
    assert set(facts.disks) == {str(folder), "/tmp"}
    assert [path.name for path in folder.iterdir()] == [asked.token]


def test_a_node_with_a_folder_of_its_own_and_without_the_data_says_so(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    asked = replace(questions(run, folder), inputs=("/gone/train.parquet", str(tmp_path)))
    facts = Prober().facts(asked)
    assert not facts.sees_run
    assert facts.missing == ("/gone/train.parquet",)
    assert Prober().facts(replace(asked, run_folder="/gone")).write_fault == "No such file or directory"


def test_the_run_asks_for_its_data_its_model_and_its_loss(run: Run, files: Path, tmp_path: Path) -> None:
    asked = questions(run, tmp_path)
    paths = {str(files / "data/train.parquet"), str(files / "data/test.parquet"), str(files / "model")}
    assert set(asked.inputs) == paths
    assert asked.hub_model is None
    assert asked.actor["policy_loss"]["loss_mode"] == "tr_grpo"


def test_a_hubs_model_has_to_be_in_the_cache_of_a_node_that_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (missing,) = probe._uncached("nobody/has-this-model")
    assert "nobody/has-this-model" in missing
    assert probe._uncached(None) == ()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert probe._uncached("nobody/has-this-model") == ()


def test_a_loss_is_known_in_a_worker_or_its_fault_is_told(run: Run, tmp_path: Path) -> None:
    asked = questions(run, tmp_path)
    assert probe._loss_fault(asked.actor) is None
    unknown = {**asked.actor, "policy_loss": {**asked.actor["policy_loss"], "_target_": "nowhere.Loss"}}
    fault = probe._loss_fault(unknown)
    assert fault is not None
    assert "nowhere" in fault


def test_a_package_that_crashes_is_told_and_the_loss_is_still_looked_at(run: Run, tmp_path: Path) -> None:
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    asked = replace(questions(run, tmp_path), scripts=(("fine", "pass"), ("broken", crash)))
    assert Prober().load(asked) == Loaded({"broken": "killed by signal 11"}, None)


def test_a_port_that_listens_is_reached_and_one_that_does_not_is_told() -> None:
    prober = Prober()
    open_port = prober.listen()
    closed = prober.free_port()
    targets = {"open": ("127.0.0.1", open_port), "closed": ("127.0.0.1", closed)}
    assert prober.connect(targets) == {"closed": "Connection refused"}
    with socket.create_connection(("127.0.0.1", open_port)):
        pass


def test_a_group_of_one_sums_and_one_whose_other_member_never_comes_gives_up() -> None:
    prober = Prober()
    assert prober.join("gloo", "127.0.0.1", prober.free_port(), 1, 30.0, 0) is None
    fault = prober.join("gloo", "127.0.0.1", prober.free_port(), 2, 0.5, 0)
    assert fault is not None


@given(
    ahead=st.floats(-1e3, 1e3),
    delays=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2)), min_size=1, max_size=5),
)
def test_the_true_offset_lies_within_the_error(ahead: float, delays: list[tuple[float, float]]) -> None:
    """Whatever the way there and the way back take."""
    found = best_offset([(1e6, 1e6 + there + ahead, 1e6 + there + back) for there, back in delays])
    assert abs(found.ahead - ahead) <= found.error + 1e-6
    assert found.error == pytest.approx(min(there + back for there, back in delays) / 2, abs=1e-6)
