"""Memory on paper: closed forms, what each knob does, and what must not be counted twice."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_cases import QWEN_3B, QWEN_7B, node, plan, run

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.compose import compose
from tr_grpo.trainer.plan.assumptions import Assumptions
from tr_grpo.trainer.plan.devices import CARDS, card
from tr_grpo.trainer.plan.memory import memory, trainable
from tr_grpo.trainer.plan.planning import CACHE, Plan, with_nodes
from tr_grpo.trainer.plan.setting import Setting, read


def item(made: Plan, phase: str, name: str) -> float:
    items = next(each for each in made.memory.phases if each.name == phase).items
    return sum(each.bytes for each in items if each.name == name)


def phase(made: Plan, name: str) -> float:
    return next(each for each in made.memory.phases if each.name == name).bytes


def test_the_papers_run_fits_its_hardware() -> None:
    assert plan(node(), on="A100").fits
    assert plan(node(), on="H100").fits


def test_an_update_holds_sixteen_bytes_a_parameter_over_the_shards() -> None:
    """ZeRO (1910.02054): fp32 weights, gradients and two states; AdamW's work in progress is four more."""
    made = plan(node())
    static = ("weights, stored", "gradients", "AdamW states")
    assert sum(item(made, "update: backward", name) for name in static) == 16 * QWEN_3B.parameters / 4
    assert item(made, "update: optimizer step", "AdamW, at work") == 4 * QWEN_3B.parameters / 4


@given(nodes=st.integers(1, 128))
def test_more_nodes_never_need_more_of_a_gpu(nodes: int) -> None:
    fewer, more = (plan(with_nodes(node(), count)).memory.phases for count in (nodes, 2 * nodes))
    assert all(after.bytes <= before.bytes for before, after in zip(fewer, more, strict=True))


@given(share=st.floats(0.1, 0.9), name=st.sampled_from(sorted(CARDS)))
def test_vllm_takes_its_share_of_the_card_and_no_more(share: float, name: str) -> None:
    made = plan(replace(node(), gpu_memory_utilization=share), on=name)
    parts = ("vLLM: weights", "vLLM: workspace", "vLLM: KV cache")
    taken = sum(item(made, "rollout", part) for part in parts)
    if made.memory.cache.bytes >= 0:
        assert taken == pytest.approx(share * CARDS[name].memory)
    else:
        assert made.memory.cache.tokens == 0
        assert CACHE in {problem.where for problem in made.problems}


def test_the_cache_holds_keys_and_values_of_every_layer() -> None:
    made = plan(node())
    # 36 layers, keys and values, two heads of 128, two bytes.
    assert made.memory.cache.bytes / made.memory.cache.tokens == 36 * 2 * 2 * 128 * 2
    # Two GPUs have one head each; four have a copy of one each.
    wide, wider = (plan(replace(node(), tensor_parallel=n)).memory.cache for n in (2, 4))
    assert wide.bytes / wide.tokens == wider.bytes / wider.tokens == 36 * 2 * 128 * 2


def test_offloading_frees_the_rollout_and_not_the_update() -> None:
    off = replace(node(), param_offload=True, optimizer_offload=True)
    before, after = plan(node()), plan(off)
    assert phase(before, "rollout") - phase(after, "rollout") == 12 * QWEN_3B.parameters / 4
    for name in ("update: backward", "update: optimizer step"):
        assert phase(after, name) == phase(before, name)
    policy = plan(replace(node(), offload_policy=True))
    assert phase(before, "update: optimizer step") - phase(policy, "update: optimizer step") == (
        pytest.approx(20 * QWEN_3B.parameters / 4)
    )


def test_a_reference_is_on_the_host_and_lora_needs_none() -> None:
    made = plan(node())
    assert made.memory.host == 4 * QWEN_3B.parameters
    lora = run("llm=qwen2_5_3b_instruct", "cluster=node_4x80gb", "actor_rollout_ref.model.lora_rank=32")
    assert not lora.reference
    small = plan(lora)
    assert trainable(QWEN_3B, lora) == QWEN_3B.lora_parameters(32)
    assert item(small, "update: backward", "gradients") < 0.05 * item(made, "update: backward", "gradients")
    assert item(small, "update: backward", "gradients, before reduction") == 0


def test_what_vllm_does_not_give_back_stays_in_every_phase() -> None:
    awake = plan(replace(node(), sleeps=False))
    for each in awake.memory.phases:
        assert sum(one.bytes for one in each.items if one.name.startswith("vLLM:")) == pytest.approx(0.5 * 80e9)


def test_the_entropys_softmax_counts_where_nothing_fuses_it() -> None:
    compiled, plain, chunked = (
        plan(replace(node(), compiled=c, entropy_chunk=n)) for c, n in ((True, 0), (False, 0), (False, 2048))
    )
    name = "log-probabilities"
    assert phase(plain, name) - phase(compiled, name) == 3 * 4 * 16384 * QWEN_3B.vocab
    assert phase(chunked, name) - phase(compiled, name) == 3 * 4 * 2048 * QWEN_3B.vocab
    assert phase(plain, "reference") == phase(compiled, "reference")


def test_seven_billion_parameters_on_one_card_are_refused_by_the_optimizer_step() -> None:
    made = plan(run("llm=qwen2_5_7b", "cluster=gpu_1"), QWEN_7B)
    assert not made.fits
    # Weights, gradients, two states, and AdamW's work: 20 bytes a parameter on the one card, offloaded before or not.
    assert phase(made, "update: optimizer step") > 20 * QWEN_7B.parameters


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("cluster=cpu",), "trainer.device=cpu: plan covers cuda only: choose cluster=gpu_1"),
        (
            ("cluster=gpu_1", "algorithm.adv_estimator=gae"),
            "adv_estimator=gae: plan covers algorithms without a critic",
        ),
        (("cluster=gpu_1", "actor_rollout_ref.rollout.name=sglang"), "rollout.name=sglang: plan covers vllm only"),
        (("cluster=gpu_1", "trainer.v1.trainer_mode=separate_async"), "trainer_mode=separate_async: plan covers sync"),
        (("cluster=gpu_1", "trainer.nnodes=0"), "trainer.nnodes=0: must be a whole number of at least 1"),
        (("cluster=gpu_1", "data.train_batch_size=many"), "data.train_batch_size=many: must be a whole number"),
        (("cluster=gpu_1", "actor_rollout_ref.rollout.tensor_model_parallel_size=2"), "must divide the run's 1 GPUs"),
        (("cluster=gpu_1", "actor_rollout_ref.rollout.temperature=warm"), "temperature=warm: must be a number from 0"),
        (("cluster=gpu_1", "actor_rollout_ref.rollout.gpu_memory_utilization=60"), "=60: must be a number from 0 to 1"),
        (
            ("cluster=gpu_1", "actor_rollout_ref.model.lora_rank=-1"),
            "lora_rank=-1: must be a whole number of at least 0",
        ),
        (("cluster=gpu_1", "actor_rollout_ref.rollout.dtype=int3"), "rollout.dtype=int3: plan knows fp32"),
        (
            ("cluster=gpu_1", "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=100"),
            "ppo_max_token_len_per_gpu=100: less than the longest sequence .* set .*=264 or more",
        ),
        (
            ("cluster=gpu_1", "actor_rollout_ref.actor.use_dynamic_bsz=false"),
            "ppo_micro_batch_size_per_gpu is not set; set it, or actor_rollout_ref.actor.use_dynamic_bsz=true",
        ),
    ],
)
def test_a_run_that_the_plan_does_not_cover_is_refused_in_one_line(overrides: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read(compose(("llm=tiny", *overrides)))
    assert "\n" not in str(caught.value)


def test_micro_batches_counted_in_responses_are_tokens_at_the_limit() -> None:
    words = ("use_dynamic_bsz=false", "ppo_micro_batch_size_per_gpu=3")
    setting = run("llm=qwen2_5_3b_instruct", "cluster=gpu_1", *(f"actor_rollout_ref.actor.{word}" for word in words),
                  "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=2")  # fmt: skip
    assert (setting.update_tokens, setting.logprob_tokens) == (3 * 4496, 2 * 4496)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("speed=2", "unknown; choose one of train_mfu"),
        ("train_mfu=fast", "'fast' is no number"),
        ("train_mfu=0", "must be above 0"),
        ("train_mfu=nan", "must be above 0"),
        ("length_sigma=50", "must be at most 4"),
        ("train_mfu=1.2", "a share is at most 1"),
    ],
)
def test_a_bad_assumption_is_named(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Assumptions.parse([text])


def test_cards_are_known_in_any_case_and_others_are_refused() -> None:
    assert card("h200") is CARDS["H200"]
    with pytest.raises(InputError, match="choose one of RTX4090, A6000, L40S, A100, H100, H200"):
        card("B300")


@given(reserve=st.floats(0.1, 40))
def test_assumed_memory_is_in_every_phase(reserve: float) -> None:
    setting: Setting = node()
    one, other = (
        memory(QWEN_3B, setting, CARDS["H100"], Assumptions(context_gib=gib)).phases for gib in (reserve, 2 * reserve)
    )
    for before, after in zip(one, other, strict=True):
        assert after.bytes - before.bytes == pytest.approx(reserve * 1024**3)
