"""A seed for each response: the same in the same place of a run, another anywhere else."""

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.trainer import seeded_rollouts
from tr_grpo.trainer.compose import verl_config_folder
from tr_grpo.trainer.seeded_rollouts import request_seed

PLACES = st.tuples(
    st.integers(0, 99), st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 64), st.booleans()
)


@given(PLACES, PLACES)
def test_a_seed_is_the_place_s_own_and_one_that_vllm_takes(one: Any, other: Any) -> None:
    assert 0 <= request_seed(*one) < 2**31
    assert (request_seed(*one) == request_seed(*other)) == (one == other)


@pytest.fixture
def seeds() -> Any:
    """What the wrapped method of a worker hands on, for a call as verl makes it."""

    class AgentLoopWorker:
        rollout_config = SimpleNamespace(full_determinism=True, seed=7)

        async def _run_agent_loop(
            self, sampling_params: dict[str, Any], trajectory: dict[str, Any], **kwargs: Any
        ) -> dict[str, Any]:
            return sampling_params

    seeded_rollouts.install(SimpleNamespace(AgentLoopWorker=AgentLoopWorker))  # type: ignore[arg-type]

    def call(deterministic: bool = True, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        worker = AgentLoopWorker()
        worker.rollout_config.full_determinism = deterministic
        given = {"temperature": 1.0}
        trajectory = {"step": 3, "sample_index": 11, "rollout_n": kwargs.pop("rollout_n", 0), "validate": False}
        return given, asyncio.run(worker._run_agent_loop(given, trajectory=trajectory, agent_name="x", **kwargs))

    return call


def test_the_responses_of_a_group_differ_in_both_trainers(seeds: Any) -> None:
    v1 = [seeds(session_id=number)[1]["seed"] for number in range(8)]
    v0 = [seeds(rollout_n=number)[1]["seed"] for number in range(8)]
    assert v1 == v0 == [request_seed(7, 3, 11, number, False) for number in range(8)]
    assert len(set(v1)) == 8


def test_nothing_changes_without_full_determinism_and_the_shared_dict_never(seeds: Any) -> None:
    given, used = seeds(deterministic=False, session_id=1)
    assert used is given
    given, used = seeds(session_id=1)
    assert "seed" not in given
    assert used["temperature"] == 1.0


def test_verl_still_gives_one_seed_to_all_and_lets_ours_win() -> None:
    """If verl seeds by the request one day, this part can go."""
    from verl.experimental.agent_loop.agent_loop import AgentLoopWorker, get_trajectory_info
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

    # Its import needs a vLLM that fits the machine.
    server = verl_config_folder().parents[1] / "workers/rollout/vllm_rollout/vllm_async_server.py"
    assert 'setdefault("seed", self.replica_rank + self.config.seed)' in server.read_text()
    parameters = list(inspect.signature(AgentLoopWorker._run_agent_loop).parameters)
    assert parameters[:3] == ["self", "sampling_params", "trajectory"]
    assert "_run_agent_loop" not in vars(AgentLoopWorkerTQ)
    assert "session_id=i" in inspect.getsource(AgentLoopWorkerTQ._run_prompt)
    infos = asyncio.run(get_trajectory_info(3, [11, 11, 12], False))
    assert infos[1] == {"step": 3, "sample_index": 11, "rollout_n": 1, "validate": False}
