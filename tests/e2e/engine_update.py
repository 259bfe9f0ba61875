"""One real update by the engine, on each rank of a gloo group: run by ``test_engine.py`` in processes of its own.

    python engine_update.py MODEL OUT CASE... with RANK, WORLD_SIZE and STORE in the environment

Writes, for each case, the metrics as verl's worker aggregates them and the weights after the update.
"""

import os
import sys
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

OURS = (
    *("diagnostics", "sharpness_every", "sharpness_rho", "hessian_iterations", "lopti_threshold"),
    *("record_samples", "record_every", "record_folder"),
)
CASES: dict[str, list[str]] = {
    "verl": ["algo=grpo", "policy_loss._target_=verl.workers.config.PolicyLossConfig"]
    + [f"~actor_rollout_ref.actor.policy_loss.{knob}" for knob in OURS],
    "grpo": ["algo=grpo"],
    "tr_grpo": ["algo=tr_grpo"],
    "normalized": ["algo=tr_grpo", "policy_loss.probability=old", "policy_loss.normalize=true"],
    "weighted_kl": ["algo=tr_grpo", "policy_loss.weighted_kl=true", "actor.use_kl_loss=true", "actor.kl_loss_coef=0.5"],
    "lopti": ["algo=grpo", "policy_loss.lopti_threshold=0.5"],
    "probed": ["algo=tr_grpo", "policy_loss.sharpness_every=1", "policy_loss.hessian_iterations=4"],
    "recorded": ["algo=tr_grpo", "policy_loss.record_samples=8"],
    "nan": ["algo=tr_grpo"],
}
# Adam's first update is the gradient's sign wherever the gradient exceeds eps, which would turn the last bit of a
# gradient near 0 into a whole step; with a large eps the update is smooth in the gradient.
SMOOTH = ["actor.optim.lr=0.01", "+actor.optim.override_optimizer_config.eps=0.1"]
# Responses are recorded where a case asks for it.
QUIET = ["policy_loss.record_samples=0"]
ROWS = 8


def long_key(override: str) -> str:
    """``actor.x`` and ``policy_loss.x`` under their full names."""
    plus = "+" * override.startswith("+")
    for short, full in (
        ("policy_loss.", "actor_rollout_ref.actor.policy_loss."),
        ("actor.", "actor_rollout_ref.actor."),
    ):
        if override.startswith(plus + short):
            return plus + full + override.removeprefix(plus + short)
    return override


def samples(model: str) -> list[dict[str, torch.Tensor]]:
    """Eight prompts of random tokens with sampled responses of unequal length, and policies near the model's own."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    found = []
    for row in range(ROWS):
        prompt = torch.randint(8, policy.config.vocab_size, (4 + row,))
        with torch.no_grad():
            ids = policy.generate(
                prompt[None], max_new_tokens=3 + row, min_new_tokens=3 + row, do_sample=True, temperature=2.0, top_k=0
            )[0]
            log_probs = policy(ids[None]).logits.log_softmax(-1)[0, :-1].gather(1, ids[1:, None])[:, 0]
        current = log_probs[len(prompt) - 1 :]
        # Far enough from the current policy that tokens are clipped on either side.
        old = (current + 0.3 * torch.randn_like(current)).clamp(max=0.0)
        found.append(
            {
                "input_ids": ids,
                "position_ids": torch.arange(len(ids)),
                "prompts": prompt,
                "responses": ids[len(prompt) :],
                "response_mask": torch.ones_like(current, dtype=torch.long),
                "old_log_probs": old,
                "ref_log_prob": (current + 0.3 * torch.randn_like(current)).clamp(max=0.0),
                "advantages": torch.randn(1).expand(len(current)).clone(),
            }
        )
    return found


def batch(model: str, rank: int, width: int) -> Any:
    """This rank's rows of the samples, in the form in which verl's worker gets them."""
    from tensordict import NonTensorStack, TensorDict
    from verl.utils import tensordict_utils as tu

    rows = samples(model)
    mine = range(rank, ROWS, width)
    fields = {key: torch.nested.as_nested_tensor([rows[i][key] for i in mine], layout=torch.jagged) for key in rows[0]}
    fields["loss_mask"] = fields["response_mask"]
    data = TensorDict(fields, batch_size=len(mine))
    data["uid"] = NonTensorStack(*(f"prompt-{i}" for i in mine))
    for name, value in (
        ("global_steps", 1), ("session_id", 0), ("data_source", "random"), ("reward_model", {"ground_truth": "none"}),
        ("extra_fields", {"reward_extra_info": {"verdict_wrong": 1.0}}),
    ):  # fmt: skip
        data[name] = NonTensorStack(*[value] * len(mine))
    tu.assign_non_tensor(
        data, calculate_entropy=False, distillation_use_topk=False, distillation_only=False, global_batch_size=ROWS,
        temperature=1.0, use_remove_padding=False, use_dynamic_bsz=False, micro_batch_size_per_gpu=2,
        use_fused_kernels=False,
    )  # fmt: skip
    return data


def engine_and_loss(model: str, overrides: list[str]) -> tuple[Any, Any]:
    """The engine that verl's registry gives for the composed config, and the loss that its worker would set."""
    from verl.utils.config import omega_conf_to_dataclass
    from verl.workers.engine import EngineRegistry
    from verl.workers.utils.losses import ppo_loss

    from tr_grpo.trainer.compose import compose

    config = compose([*map(long_key, [*overrides, *SMOOTH]), f"actor_rollout_ref.model.path={model}"]).actor_rollout_ref
    actor, hf_model = omega_conf_to_dataclass(config.actor), omega_conf_to_dataclass(config.model)
    engine_config = actor.engine
    engine_config.use_remove_padding = False
    engine = EngineRegistry.new(
        model_type="language_model", backend=actor.strategy, model_config=hf_model, engine_config=engine_config,
        optimizer_config=actor.optim, checkpoint_config=actor.checkpoint,
    )  # fmt: skip
    engine.initialize()
    return engine, partial(ppo_loss, config=actor)


def aggregated(metrics: dict[str, Any], group: Any) -> dict[str, float]:
    """As verl's ``TrainingWorker`` and driver do: over ranks, then over micro-batches and updates."""
    from verl.utils.metric.utils import Metric, reduce_metrics
    from verl.utils.torch_functional import allgather_dict_into_dict

    norm = metrics.pop("grad_norm")
    gathered = allgather_dict_into_dict(metrics, group)
    lists = {
        key: Metric.aggregate_dp(values) if isinstance(values[0], Metric) else list(chain.from_iterable(values))
        for key, values in gathered.items()
    }
    reduced = reduce_metrics({key: values if isinstance(values, list) else [values] for key, values in lists.items()})
    return {key: float(value) for key, value in reduced.items()} | {"grad_norm": norm}


def update(model: str, case: str, rollouts: Path) -> dict[str, Any]:
    """Run one case; for a FloatingPointError, its text."""
    rank, width = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    quiet = [] if case == "verl" else [*QUIET, f"policy_loss.record_folder={rollouts}"]
    engine, loss = engine_and_loss(model, [*quiet, *CASES[case]])
    data = batch(model, rank, width)
    if case == "nan":
        data["advantages"].values()[:] = 1.0
        with torch.no_grad():
            next(iter(engine.module.parameters())).mul_(float("nan"))
    with engine.train_mode():
        try:
            outputs = engine.train_batch(data, loss)
        except FloatingPointError as error:
            return {"error": str(error)}
    weights = {name: p.full_tensor() for name, p in engine.module.state_dict().items() if hasattr(p, "full_tensor")}
    return {
        "engine": type(engine).__name__,
        "metrics": aggregated(outputs["metrics"], engine.get_data_parallel_group()),
        "weights": {name: weight.clone() for name, weight in weights.items()},
    }


def main(model: str, out: str, cases: list[str]) -> None:
    """All cases in one process group."""
    torch.set_num_threads(1)
    import verl  # noqa: F401  (the platform first)

    rank, width = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{os.environ['STORE']}", rank=rank, world_size=width
    )
    results = {}
    for case in cases:
        # verl's own engine is what a policy loss of verl's gets without our vendor.
        os.environ["VERL_ENGINE_VENDOR"] = "" if case == "verl" else "tr_grpo"
        results[case] = update(model, case, Path(out).with_suffix(".rollouts"))
    if rank == 0:
        torch.save(results, Path(out))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
