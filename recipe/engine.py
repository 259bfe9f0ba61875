"""verl's FSDP engine with eyes: measures each update, and carries out what a policy loss cannot see.

A policy loss sees one micro-batch of one rank. What needs the whole mini-batch is done here, around verl's own
``train_batch``: the mean weight (``normalize``), the two updates of Lopti, the shift of the reference policy
(``weighted_kl``), the shares of the gradient and the sharpness probe. For ``algo=grpo`` it only measures: loss,
gradient and update stay verl's, bit for bit.

verl looks an engine up by device and vendor; ``VERL_ENGINE_VENDOR=tr_grpo`` chooses this one, for models whose
policy loss is one of ours to configure. It is registered as soon as ``recipe/policy_loss.py`` and verl's FSDP
engine are both loaded.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tensordict import TensorDict
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY
from verl.utils.device import get_device_id
from verl.workers.config import ActorConfig
from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
from verl.workers.utils.padding import no_padding_2_padding

from tr_grpo.recipe.gradient_norms import GradientNorms
from tr_grpo.recipe.policy_loss import (
    MeasuredLossConfig,
    NonFiniteLogProbError,
    TRGRPOLossConfig,
    require_finite,
    token_weights,
)
from tr_grpo.recipe.sharpness import ascent, top_eigenvalue
from tr_grpo.recipe.token_ledger import TokenLedger, WeightRange, describe, masses
from tr_grpo.recipe.token_record import TokenRecorder, rollout_log_probs
from tr_grpo.recipe.weights import CLIPPED

VENDOR = "tr_grpo"
HESSIAN_STEP = 1e-4
"""Half the distance of the two gradients of a Hessian product, in the parameters' own units: short, because a rare
token of a bad response can bend the loss within ten times this length (docs/method.md)."""

LossFunction = Callable[..., tuple[Tensor, dict[str, Any]]]


class MeasuredLoss:
    """verl's loss function of one update, with the same call, that also keeps the ledger.

    Args:
        loss_function: verl's ``partial(ppo_loss, config=actor_config)``.
        knobs: the actor's ``policy_loss``.
        ledger: where micro-batches are added, or None to measure nothing.
        recorder: keeps some responses token by token, or None.
    """

    def __init__(
        self,
        loss_function: LossFunction,
        knobs: MeasuredLossConfig,
        ledger: TokenLedger | None,
        recorder: TokenRecorder | None = None,
    ) -> None:
        self.loss_function, self.knobs, self.ledger, self.recorder = loss_function, knobs, ledger, recorder

    def __call__(
        self, model_output: dict[str, Tensor], data: TensorDict, dp_group: Any = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Loss and metrics of one micro-batch; raises FloatingPointError naming the sample for a NaN."""
        if isinstance(self.knobs, TRGRPOLossConfig) and self.knobs.weighted_kl:
            # Weighted KL: w rho - log(w rho) - 1 is verl's low_var_kl with log(w) added to the reference.
            log_prob = no_padding_2_padding(model_output["log_probs"].detach(), data)
            w = token_weights(self.knobs, log_prob, padded(data["old_log_probs"]))
            data["ref_log_prob"] = like(padded(data["ref_log_prob"]) + w.log(), data["ref_log_prob"])
        try:
            with observed_policy_loss(self.knobs.loss_mode, partial(self._observe, data)):
                return self.loss_function(model_output=model_output, data=data, dp_group=dp_group)
        except NonFiniteLogProbError as error:
            raise FloatingPointError(f"{error}; {_sample(data, error.row)}") from error

    def _observe(
        self, data: TensorDict, policy_loss: LossFunction, *, log_prob: Tensor, **rest: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        """Call the policy loss on a view of ``log_prob``, whose gradient is the policy term's without the KL's."""
        own = log_prob.view_as(log_prob)
        old, mask, advantages = rest["old_log_prob"], rest["response_mask"], rest["advantages"]
        loss, metrics = policy_loss(log_prob=own, **rest)
        require_finite(loss, log_prob, mask)
        if self.ledger is not None and own.requires_grad:
            detached, ledger = own.detach(), self.ledger
            w = token_weights(self.knobs, detached, old) if isinstance(self.knobs, TRGRPOLossConfig) else None

            def record(gradient: Tensor) -> None:
                # Before the ledger, which works in place.
                self._record(data, detached, w, gradient, rest)
                ledger.add(detached.float().exp(), w, advantages, mask, gradient)

            own.register_hook(record)
        return loss, metrics

    def _record(
        self, data: TensorDict, log_prob: Tensor, w: Tensor | None, gradient: Tensor, rest: dict[str, Any]
    ) -> None:
        wanted = self.recorder.wanted(data) if self.recorder is not None else []
        if self.recorder is None or not wanted:
            return
        values = {
            "log_prob": log_prob,
            "old_log_prob": rest["old_log_prob"],
            "rollout_log_prob": rollout_log_probs(data, log_prob),
            "advantage": rest["advantages"],
            "weight": torch.ones_like(log_prob) if w is None else w,
            "gradient": gradient,
        }
        for row, key in wanted:
            self.recorder.add(row, key, data, values, rest["response_mask"])


@contextmanager
def observed_policy_loss(mode: str, observer: LossFunction) -> Iterator[None]:
    """Within the context, verl finds ``observer(policy_loss, ...)`` in its registry where it looks for ``mode``."""
    policy_loss = POLICY_LOSS_REGISTRY[mode]
    POLICY_LOSS_REGISTRY[mode] = partial(observer, policy_loss)
    try:
        yield
    finally:
        POLICY_LOSS_REGISTRY[mode] = policy_loss


@EngineRegistry.register(
    model_type="language_model", backend=["fsdp", "fsdp2"], device=["cuda", "npu"], vendor=VENDOR
)  # fmt: skip
class MeasuredEngine(FSDPEngineWithLMHead):
    """``FSDPEngineWithLMHead`` whose updates are measured; see the module's text."""

    _updates = 0
    _probe: Callable[[], dict[str, float]] | None = None
    _token_recorder: TokenRecorder | None = None

    def train_batch(self, data: TensorDict, loss_function: LossFunction) -> dict[str, Any]:
        """One mini-batch, as verl's, with the metrics of ``actor/tr…`` and ``actor/update/…`` added.

        Args:
            data: a rank's part of the mini-batch.
            loss_function: what verl's worker set, a ``partial`` with the actor's config.

        Returns:
            verl's dict of ``loss``, ``metrics`` and ``model_output``.
        """
        config: ActorConfig | None = getattr(loss_function, "keywords", {}).get("config")
        knobs = getattr(config, "policy_loss", None)
        if config is None or not isinstance(knobs, MeasuredLossConfig):
            return super().train_batch(data, loss_function)
        knobs.engine_attached = True
        require_weighted_kl(knobs, config)
        if not knobs.lopti_threshold:
            return self._update(data, loss_function, knobs)
        parts = [part for part in lopti_parts(data, knobs.lopti_threshold) if self._over_ranks([_count(part)])[0]]
        # Where no token counts at all, verl's one update says so.
        parts = parts or [data]
        return merged([self._update(part, loss_function, knobs) for part in parts])

    def _update(self, data: TensorDict, loss_function: LossFunction, knobs: MeasuredLossConfig) -> dict[str, Any]:
        """Forward, backward and optimizer step on ``data``, measured."""
        if isinstance(knobs, TRGRPOLossConfig) and knobs.normalize:
            weight_total, tokens = self._over_ranks(weight_and_count(data, knobs))
            knobs.batch_mean = weight_total / tokens if tokens else 1.0
        ledger = TokenLedger(weight_range(knobs), get_device_id()) if knobs.diagnostics else None
        recorder = self._recorder(data, knobs) if ledger is not None else None
        measured = MeasuredLoss(loss_function, knobs, ledger, recorder)
        due = knobs.sharpness_every and self._updates % knobs.sharpness_every == 0
        found: dict[str, float] = {}
        if due:
            quiet = MeasuredLoss(loss_function, knobs, None)
            self._probe = lambda: found.update(self._sharpness(data, quiet, knobs)) or found
        outputs = super().train_batch(data, measured)
        self._updates += 1
        if self.is_mp_src_rank_with_outputs():
            if ledger is not None:
                totals = self._over_ranks(ledger.totals().tolist())
                found |= describe(totals)
                if recorder is not None:
                    recorder.write(*masses(totals))
                found |= self._norms.add(outputs["metrics"]["grad_norm"])
            # Lists, like verl's own metrics of a micro-batch: it averages them over ranks and updates.
            outputs["metrics"].update({key: [value] for key, value in found.items()})
        return outputs

    def _recorder(self, data: TensorDict, knobs: MeasuredLossConfig) -> TokenRecorder | None:
        """The recorder, told of a new update, on the one rank that has it.

        The trainer of verl before V1 does not say which step an update belongs to: there, nothing is recorded.
        """
        first = self.get_data_parallel_rank() == 0 and self.is_mp_src_rank_with_outputs()
        if not (knobs.record_samples and knobs.record_folder and first) or "global_steps" not in data.keys():  # noqa: SIM118
            return None
        if self._token_recorder is None:
            folder, tokenizer = Path(knobs.record_folder), self.model_config.tokenizer
            self._token_recorder = TokenRecorder(folder, knobs.record_samples, knobs.record_every, tokenizer)
        self._token_recorder.begin(data)
        return self._token_recorder

    @property
    def _norms(self) -> GradientNorms:
        if not hasattr(self, "_gradient_norms"):
            self._gradient_norms = GradientNorms()
        return self._gradient_norms

    def optimizer_step(self) -> float:
        """verl's; a due probe runs first, while the whole gradient is there and the weights are still the old."""
        if self._probe is not None:
            probe, self._probe = self._probe, None
            probe()
        return super().optimizer_step()

    def _over_ranks(self, values: Sequence[float]) -> list[float]:
        """Each value added up over the data-parallel ranks."""
        total = torch.tensor(list(values), dtype=torch.float64, device=get_device_id())
        dist.all_reduce(total, group=self.get_data_parallel_group())
        return total.tolist()

    def _sharpness(self, data: TensorDict, loss: MeasuredLoss, knobs: MeasuredLossConfig) -> dict[str, float]:
        """The probe's metrics at the present weights; weights and gradients are the same bits afterwards."""
        if not isinstance(self.module, FSDPModule):
            raise ValueError("sharpness_every needs actor_rollout_ref.actor.strategy=fsdp2: FSDP1's shards are opaque")
        if getattr(self, "scaler", None) is not None:
            raise ValueError("sharpness_every does not go with float16: its gradients are scaled; use bfloat16")
        if knobs.hessian_iterations and self._autocast_dtype != torch.float32:
            raise ValueError(
                "hessian_iterations needs float32, whose rounding a difference of gradients survives: set "
                "actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=fp32, or hessian_iterations=0"
            )
        parameters = [p for p in self.module.parameters() if p.grad is not None]
        gradients = [p.grad for p in parameters]

        def value() -> float:
            losses = self.forward_backward_batch(data, loss, forward_only=True)["loss"]
            # After a forward without backward the root's weights stay gathered: a change of the shards is not seen.
            self.module.reshard()
            return self._over_ranks([float(torch.tensor(losses).sum())])[0] / self.get_data_parallel_size()

        def gradient() -> list[Tensor]:
            for parameter in parameters:
                parameter.grad = None
            with torch.enable_grad():
                self.forward_backward_batch(data, loss, forward_only=False)
            self.module.reshard()
            return [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]

        metrics = {}
        step = ascent(parameters, value, knobs.sharpness_rho, dot=sharded_dot)
        if step is not None:
            metrics = {"actor/sharpness/loss_rise": step.rise, "actor/sharpness/slope": step.slope}
        if step is not None and knobs.hessian_iterations:
            start = [g.clone() for g in gradients]
            metrics["actor/sharpness/top_eigenvalue"] = top_eigenvalue(
                parameters, gradient, start, knobs.hessian_iterations, HESSIAN_STEP, dot=sharded_dot
            )
            for parameter, kept in zip(parameters, start, strict=True):
                parameter.grad = kept
        return metrics


def padded(values: Tensor) -> Tensor:
    """(batch, response_length) from verl's jagged rows, zeros to the right; a dense tensor as it is."""
    return values.to_padded_tensor(0) if values.is_nested else values


def like(dense: Tensor, jagged: Tensor) -> Tensor:
    """The inverse of :func:`padded`: ``dense`` in the rows of ``jagged``."""
    if not jagged.is_nested:
        return dense
    # Row by row: a micro-batch's jagged tensors may be views with gaps, whose offsets do not tell the lengths.
    rows = [row[: len(old)] for row, old in zip(dense, jagged.unbind(), strict=True)]
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def weight_range(knobs: MeasuredLossConfig) -> WeightRange:
    """The clips and ends of the weight; of the constant 1 for a loss without one."""
    if not isinstance(knobs, TRGRPOLossConfig):
        return WeightRange()
    weight, scale = knobs.weight(), knobs.batch_mean or 1.0
    ends = weight.lowest, weight.highest
    clips = (weight.lower, weight.upper) if weight.shape in CLIPPED else ends
    return WeightRange(*(value / scale for value in (*clips, *ends)))


def weight_and_count(data: TensorDict, knobs: TRGRPOLossConfig) -> tuple[float, float]:
    """Sum of w(pi_old) over a rank's counted tokens, and their number."""
    old, mask = padded(data["old_log_probs"]), padded(data["response_mask"]).bool()
    knobs.batch_mean = None
    w = token_weights(knobs, old, old)
    return w[mask].double().sum().item(), mask.sum().item()


def lopti_parts(data: TensorDict, threshold: float) -> list[TensorDict]:
    """Two copies of ``data``, one with the tokens of pi_old <= threshold, one with the others.

    ``loss_mask`` is what verl counts the denominator of token-mean from, so each part is averaged over its own.
    """
    mask, old = padded(data["response_mask"]).bool(), padded(data["old_log_probs"])
    low = old.exp() <= threshold
    parts = []
    for chosen in (mask & low, mask & ~low):
        part = data.clone(recurse=False)
        part["response_mask"] = like(chosen.to(data["response_mask"].dtype), data["response_mask"])
        part["loss_mask"] = part["response_mask"]
        parts.append(part)
    return parts


def _count(data: TensorDict) -> float:
    return float(padded(data["response_mask"]).bool().sum())


def merged(outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One output of several updates: lists of metrics joined, the gradient norm averaged."""
    first, *others = outputs
    for other in others:
        first["loss"] = [*first["loss"], *other["loss"]]
        for key, value in other["metrics"].items():
            mine = first["metrics"].get(key)
            if key == "grad_norm":
                first["metrics"][key] = (mine + value) / 2
            elif mine is None:
                first["metrics"][key] = value
            else:
                mine.extend(value)
    return first


def require_weighted_kl(knobs: MeasuredLossConfig, config: ActorConfig) -> None:
    """``weighted_kl`` acts on verl's KL penalty; ValueError, naming both keys, where there is none it can act on."""
    if not getattr(knobs, "weighted_kl", False):
        return
    if not config.use_kl_loss:
        raise ValueError("weighted_kl=true needs actor.use_kl_loss=true: there is no KL penalty to weigh")
    if config.kl_loss_type not in ("low_var_kl", "k3"):
        raise ValueError(
            f"weighted_kl=true and kl_loss_type={config.kl_loss_type} do not go together: the published form is "
            "that of low_var_kl"
        )


def sharded_dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """Scalar product of two lists of sharded tensors, over all their shards."""
    total = 0.0
    for a, b in zip(left, right, strict=True):
        product = (a.double() * b.double()).sum()
        total += (product.full_tensor() if isinstance(product, DTensor) else product).item()
    return total


def _sample(data: TensorDict, row: int) -> str:
    """How a user finds a sample again: its row in the data file and its uid, as far as verl carries them."""
    known = [key for key in ("data_source", "index", "uid") if key in data.keys()]  # noqa: SIM118 (a TensorDict)
    return "sample " + (", ".join(f"{key}={data[row][key]}" for key in known) or "unknown: the batch has no uid")
