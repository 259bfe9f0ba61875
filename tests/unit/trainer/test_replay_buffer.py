"""The replay buffer: built by verl as its own would be, polls fast, counts verdicts and missing rewards."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from verl.trainer.ppo.v1 import PPOTrainerSync
from verl.trainer.ppo.v1 import replay_buffer as verls_buffers
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from tr_grpo.reward.trajectory import FIELD, End, Trajectory
from tr_grpo.trainer import replay_buffer as module
from tr_grpo.trainer.compose import compose
from tr_grpo.trainer.replay_buffer import AccountingReplayBuffer, AccountingReplayBufferAsync, groups_without_signal

COMPARED = (
    "train_batch_size",
    "gen_batch_size",
    "sync_refill_failed_groups",
    "filter_groups_metric",
    "max_inflight_gen_batches",
    "max_off_policy_threshold",
    "max_off_policy_strategy",
)
FILTER = ["algorithm.filter_groups.enable=true", "algorithm.filter_groups.metric=acc"]


def built(config: DictConfig) -> ReplayBuffer:
    """What verl's trainer builds from ``config``."""
    trainer = object.__new__(PPOTrainerSync)
    trainer.config, trainer.trainer_mode = config, config.trainer.v1.trainer_mode
    return trainer._build_replay_buffer()


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["trainer.v1.sampler.sync_refill_failed_groups=true"],
        FILTER,
        [*FILTER, "algorithm.filter_groups.max_inflight_gen_batches=3"],
    ],
)
def test_verl_builds_ours_with_what_it_gives_its_own(overrides: list[str]) -> None:
    config = compose(overrides)
    ours = built(config)
    config.trainer.v1.sampler.custom_sampler.path = None
    verls = built(config)
    assert type(ours) is AccountingReplayBuffer
    assert type(verls) is ReplayBuffer
    assert {name: getattr(ours, name) for name in COMPARED} == {name: getattr(verls, name) for name in COMPARED}
    assert (ours.poll_interval, verls.poll_interval) == (0.05, 2.0)


def test_asynchronous_trainers_get_the_asynchronous_buffer() -> None:
    buffer = built(compose(["trainer.v1.trainer_mode=colocate_async"]))
    assert type(buffer) is AccountingReplayBufferAsync
    assert isinstance(buffer, ReplayBufferAsync)
    assert buffer.poll_interval == 0.05


class Batch(SimpleNamespace):
    pass


def sampled(
    monkeypatch: pytest.MonkeyPatch, keys: list[str], infos: list[dict[str, float]], partition: str, *overrides: str
) -> Any:
    batch = Batch(keys=keys, partition_id=partition)
    monkeypatch.setattr(ReplayBuffer, "sample", lambda self, *args: (batch, {"from_verl": 1.0}))
    fields = {
        "extra_fields": [{"reward_extra_info": info} for info in infos],
        "rm_scores": torch.tensor([[0.0, info.get("acc", 0.0)] for info in infos]),
    }
    monkeypatch.setattr(module.tq, "kv_batch_get", lambda **kwargs: fields)
    return built(compose(["actor_rollout_ref.rollout.n=2", *overrides])).sample(3, partition, batch_size=2)


def test_verdicts_are_averaged_over_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    infos = [{"acc": 1.0, "verdict_right": 1.0}] + 3 * [{"acc": 0.0, "verdict_right": 0.0}]
    _, metrics = sampled(monkeypatch, ["a_0_0", "a_1_0", "b_0_0", "b_1_0"], infos, "train")
    ours = {"reward/unscored_share": 0.0, "reward/groups_without_signal": 0.5}
    assert metrics == {"from_verl": 1.0, "reward/acc": 0.25, "reward/verdict_right": 0.25} | ours


def test_a_group_has_signal_where_its_responses_rewards_differ() -> None:
    rows = [torch.tensor(row) for row in ([0.0, 1.0], [1.0], [0.5, 0.5, 0.5], [0.0], [2.0], [2.0])]
    rewards = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
    # a: 1 and 1 at different places; b: a session of two sequences, 1.5 in all, and one of 2; c: 2 alone.
    keys = ["a_0_0", "a_1_0", "b_0_0", "b_0_1", "b_1_0", "c_0_0"]
    assert groups_without_signal(keys, rewards) == pytest.approx(2 / 3)
    assert groups_without_signal([], torch.zeros(0, 1)) == 0.0


@pytest.mark.parametrize("partition", ["train", "val"])
def test_missing_rewards_stop_the_run(monkeypatch: pytest.MonkeyPatch, partition: str) -> None:
    keys = ["a_0_0", "a_1_0", "b_0_0"] if partition == "train" else ["a_0_0"]
    with pytest.raises(RuntimeError, match=r"step 3 .*1 of \d responses have no reward"):
        sampled(monkeypatch, keys, [{}] * 3, partition)


def test_several_outputs_of_one_session_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["a_0_0", "a_0_1", "a_1_0", "b_0_0", "b_1_0"]
    _, metrics = sampled(monkeypatch, keys, [{"acc": 1.0, "pred": "7"}] * 5, "train")
    ours = {"reward/unscored_share": 0.0, "reward/groups_without_signal": 0.5}
    assert metrics == {"from_verl": 1.0, "reward/acc": 1.0} | ours


KEYS = ["a_0_0", "a_1_0", "b_0_0", "b_1_0"]
MASK = "reward.reward_kwargs.overlong.mode=mask"


class Store:
    """The part of the transfer queue that masking uses, in a dict; tests/e2e/test_training.py has the real one."""

    def __init__(self, infos: list[dict[str, float]]) -> None:
        lengths = dict(zip(KEYS, (3, 1, 4, 2), strict=True))
        self.rows: dict[str, dict[str, Any]] = {
            key: {
                "extra_fields": {"reward_extra_info": info},
                "response_mask": torch.ones(lengths[key]).long(),
                "rm_scores": torch.zeros(lengths[key]),
            }
            for key, info in zip(KEYS, infos, strict=True)
        }

    def kv_batch_get(self, keys: list[str], partition_id: str, select_fields: list[str]) -> dict[str, Any]:
        columns = {field: [self.rows[key][field] for key in keys] for field in select_fields}
        return {
            field: values if field == "extra_fields" else torch.nested.as_nested_tensor(values, layout=torch.jagged)
            for field, values in columns.items()
        }

    def kv_batch_put(self, keys: list[str], partition_id: str, fields: Any) -> None:
        for name, values in fields.items():
            for key, value in zip(keys, values.unbind(), strict=True):
                self.rows[key][name] = value


@pytest.mark.parametrize(("mode", "zeroed"), [(MASK, {"a_1_0", "b_0_0"}), ("reward.reward_kwargs.rule=tiny", set())])
def test_truncated_responses_leave_the_loss_only_where_that_is_asked(
    monkeypatch: pytest.MonkeyPatch, mode: str, zeroed: set[str]
) -> None:
    store = Store([{"overlong": 0.0}, {"overlong": 1.0}, {"overlong": 1.0}, {"overlong": 0.0}])
    monkeypatch.setattr(ReplayBuffer, "sample", lambda self, *args: (Batch(keys=KEYS, partition_id="train"), {}))
    monkeypatch.setattr(module, "tq", store)
    _, metrics = built(compose(["actor_rollout_ref.rollout.n=2", mode])).sample(3, "train", batch_size=2)
    assert metrics["reward/overlong"] == 0.5
    for key, row in store.rows.items():
        assert row["response_mask"].any() == (key not in zeroed)
        if key in zeroed:
            assert torch.equal(row["loss_mask"], torch.zeros_like(row["response_mask"]))
        else:
            assert "loss_mask" not in row


def test_responses_whose_search_failed_leave_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store([{"verdict_search_failed": 0.0}, {"verdict_search_failed": 1.0}, {"overlong": 1.0}, {}])
    monkeypatch.setattr(ReplayBuffer, "sample", lambda self, *args: (Batch(keys=KEYS, partition_id="train"), {}))
    monkeypatch.setattr(module, "tq", store)
    built(compose(["actor_rollout_ref.rollout.n=2"])).sample(3, "train", batch_size=2)
    assert {key for key, row in store.rows.items() if not row["response_mask"].any()} == {"a_1_0"}


def told(searches: int, failed: int) -> dict[str, Any]:
    trajectory = Trajectory(("x",), ("y",) * searches, searches, failed, 0, 9, End.STOPPED, "refused at 10.0.0.1:8000")
    return {"reward_extra_info": {}, FIELD: trajectory.plain()}


@pytest.mark.parametrize("partition", ["train", "val"])
def test_a_run_whose_searches_fail_stops_with_the_reason(monkeypatch: pytest.MonkeyPatch, partition: str) -> None:
    """The limit is a share of the batch's searches, and it is exceeded only by more than it."""

    def sample(*rows: dict[str, Any]) -> None:
        monkeypatch.setattr(ReplayBuffer, "sample", lambda self, *args: (Batch(keys=KEYS, partition_id=partition), {}))
        fields = {"extra_fields": list(rows), "rm_scores": torch.zeros(len(rows), 2)}
        monkeypatch.setattr(module.tq, "kv_batch_get", lambda **kwargs: fields)
        options = ["actor_rollout_ref.rollout.n=2", "actor_rollout_ref.rollout.val_kwargs.n=2"]
        built(compose([*options, "search.max_failure_share=0.25"])).sample(3, partition, batch_size=2)

    sample(told(4, 1), told(0, 0), told(0, 0), told(0, 0))
    sample(told(0, 0), told(0, 0), told(0, 0), told(0, 0))
    with pytest.raises(RuntimeError, match=r"step 3 .*: 2 of 5 searches failed \(40\.0%.*10\.0\.0\.1:8000.*resumes"):
        sample(told(4, 2), told(1, 0), told(0, 0), told(0, 0))


def test_a_batch_that_is_truncated_as_a_whole_says_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match=r"step 3: every response ran .*max_response_length"):
        sampled(monkeypatch, KEYS, [{"overlong": 1.0}] * 4, "train", MASK)


def test_a_batch_whose_searches_all_failed_is_not_said_to_be_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match=r"step 3: failed searches leave no response"):
        sampled(monkeypatch, KEYS, [{"verdict_search_failed": 1.0, "overlong": 0.0}] * 4, "train")


def test_silence_ends_a_run_whose_rollouts_stopped_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    """One prompt of two is finished, the other's reward hangs."""
    prompt = {"is_prompt": True, "global_steps": 3}
    items = {"a": prompt | {"status": "finished"}, "a_0_0": {}, "a_1_0": {}, "b": prompt | {"status": "running"}}
    monkeypatch.setattr(module.tq, "kv_list", lambda: {"train": items})
    key = "trainer.v1.sampler.sampler_kwargs.max_silence_s"
    buffer = built(compose(["actor_rollout_ref.rollout.n=2", f"{key}=0.2"]))
    with pytest.raises(
        RuntimeError, match=r"step 3 \(train\): nothing came for 0 s, with 2 of 4 responses there"
    ) as error:
        buffer.sample(3, "train", batch_size=2)
    assert key in str(error.value)


def test_verls_buffers_look_through_the_method_that_listens() -> None:
    for owner in (ReplayBuffer, ReplayBufferAsync):
        assert "self._sync_metadata_from_transfer_queue()" in inspect.getsource(owner.sample) + inspect.getsource(
            getattr(owner, "wait_for_sampleable", owner.sample)
        )


def test_a_batch_that_failed_as_a_whole_is_told_in_our_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: Any, *args: Any) -> Any:
        raise RuntimeError(f"Sync replay buffer selected terminal groups with {module.NOTHING_FINISHED}.")

    monkeypatch.setattr(ReplayBuffer, "sample", failing)
    with pytest.raises(RuntimeError, match=r"step 3 \(train\): not one of 4 responses has a reward"):
        built(compose(["actor_rollout_ref.rollout.n=2"])).sample(3, "train", batch_size=2)
    assert module.NOTHING_FINISHED in inspect.getsource(verls_buffers)
