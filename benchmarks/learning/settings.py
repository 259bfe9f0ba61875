"""What is compared, and what is the same for all."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl.workers.config import FSDPActorConfig, PolicyLossConfig

from tr_grpo.recipe.policy_loss import TRGRPOLossConfig

FOLDER = Path("outputs/learning")
SEEDS = (1, 2, 3, 4, 5, 6, 7)
LEARNING_RATES = (5e-5, 1e-4, 2e-4)

METHODS: dict[str, dict[str, Any] | None] = {
    "grpo": None,
    "tr_grpo": {"shape": "sigmoid"},
    "tr_grpo_normalized": {"shape": "sigmoid", "probability": "old", "normalize": True},
    "reverse": {"shape": "reverse"},
    "ar": {"shape": "linear", "a": 0.3, "probability": "old"},
}
"""Keys of ``TRGRPOLossConfig`` by method; None is verl's own ``vanilla`` loss."""
CONTROL: dict[str, dict[str, Any] | None] = {"uniform": {"shape": "uniform"}}
"""Has to equal ``grpo`` bit for bit."""


@dataclass(frozen=True)
class Settings:
    """The same for every run; the defaults are those of ``llm=tiny`` except the response length."""

    steps: int = 20
    prompts: int = 8
    responses: int = 8
    """Of each prompt."""
    mini_batch: int = 4
    """Prompts of one optimizer update: two updates a step."""
    micro_batches: int = 4
    """Parts of a mini-batch, by response length; they change memory and time, not the update."""
    response_tokens: int = 144
    clip_low: float = 0.2
    clip_high: float = 0.28
    clip_dual: float = 10.0
    grad_clip: float = 1.0
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    evaluate_every: int = 5
    probe_every: int = 5
    probe_rho: float = 0.05
    """Length of the sharpness probe's step, in the parameters' own units."""


@dataclass(frozen=True)
class Run:
    """One cell of the grid."""

    method: str
    lr: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.method}-{self.lr:g}-{self.seed}"

    def loss_config(self) -> PolicyLossConfig:
        """verl's ``policy_loss``; KeyError for an unknown method."""
        knobs = (METHODS | CONTROL)[self.method]
        return PolicyLossConfig(loss_mode="vanilla") if knobs is None else TRGRPOLossConfig(**knobs)

    def actor(self, settings: Settings) -> FSDPActorConfig:
        """The actor's config as the loss reads it."""
        return FSDPActorConfig(
            strategy="fsdp2",
            rollout_n=settings.responses,
            ppo_mini_batch_size=settings.mini_batch,
            use_dynamic_bsz=True,
            clip_ratio_low=settings.clip_low,
            clip_ratio_high=settings.clip_high,
            clip_ratio_c=settings.clip_dual,
            policy_loss=self.loss_config(),
        )
