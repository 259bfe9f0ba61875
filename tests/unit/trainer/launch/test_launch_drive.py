"""What the driver makes of the nodes that have joined Ray."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.launch import drive
from tr_grpo.trainer.launch.drive import RANK_LABEL, Member, missing, settle

HOSTS = ("node1", "node2", "node3")


def members(*devices: int, cpus: int = 64) -> list[Member]:
    return [Member(rank, f"10.0.0.{rank}", each, cpus) for rank, each in enumerate(devices)]


def test_a_member_is_read_from_ray_s_own_words() -> None:
    node = {
        "NodeManagerAddress": "10.0.0.7",
        "Resources": {"CPU": 16.0, "GPU": 8.0, "memory": 1.0},
        "Labels": {RANK_LABEL: "3"},
    }
    assert Member.of(node) == Member(3, "10.0.0.7", 8, 16)
    assert Member.of({"NodeManagerAddress": "a", "Resources": {}, "Labels": {}}) == Member(None, "a", 0, 0)


@given(st.sets(st.integers(0, 2)))
def test_exactly_the_hosts_that_did_not_join_are_named(here: set[int]) -> None:
    joined = [Member(rank, "", 1, 8) for rank in here]
    assert missing(joined, 3, HOSTS) == [host for rank, host in enumerate(HOSTS) if rank not in here]


def test_without_names_the_number_is_said() -> None:
    assert missing(members(8, 8), 3, ()) == ["1 of 3 nodes"]
    assert missing(members(8, 0), 2, ()) == ["1 of 2 nodes"]
    assert missing(members(8, 8, 8), 3, ()) == []


def test_a_running_cluster_s_size_is_counted() -> None:
    assert settle(members(8, 8), None, None) == (2, 8)
    # A head without a GPU only leads.
    assert settle(members(0, 8, 8), None, None) == (2, 8)


def test_verl_s_need_of_cpus_is_the_preflight_s() -> None:
    from tr_grpo.trainer.preflight import ray_start

    assert (drive.CPUS_A_DEVICE, drive.TASK_RUNNER_CPUS) == (ray_start.CPUS_A_DEVICE, ray_start.TASK_RUNNER_CPUS)


def test_what_was_asked_for_is_taken_where_it_is_there() -> None:
    assert settle(members(8, 8), 2, 4) == (2, 4)


@pytest.mark.parametrize(
    ("cluster", "nodes", "devices", "says"),
    [
        (members(8, 4), None, None, r"10\.0\.0\.1 has 4 devices, not 8"),
        (members(8, 4), 2, 8, r"10\.0\.0\.1 has 4 devices, not 8"),
        (members(0, 0), None, None, "no node of this Ray has a GPU"),
        (members(8, 8, cpus=16), 2, 8, "32 CPUs on all nodes, and verl asks for 49"),
    ],
)
def test_a_cluster_on_which_the_run_would_wait_for_ever_is_refused(
    cluster: list[Member], nodes: int | None, devices: int | None, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        settle(cluster, nodes, devices)
