"""The batch ledger: what verl's batch keys amount to, counted out."""

from dataclasses import dataclass

from omegaconf import DictConfig
from rich.table import Table


@dataclass(frozen=True)
class BatchLedger:
    """Sizes of one training step.

    verl counts ``data.train_batch_size`` and ``ppo_mini_batch_size`` in prompts (each with ``rollout.n``
    responses) and micro-batches in responses a device.
    """

    prompts: int
    responses_per_prompt: int
    mini_batch_prompts: int
    epochs_per_batch: int
    devices: int
    micro_batch_per_device: int | None
    """Responses; None when micro-batches are cut by tokens (``use_dynamic_bsz``)."""
    micro_batch_tokens: int
    prompt_limit: int
    response_limit: int

    @classmethod
    def from_config(cls, config: DictConfig) -> "BatchLedger":
        """Read the sizes from verl's keys."""
        actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
        return cls(
            prompts=config.data.train_batch_size,
            responses_per_prompt=rollout.n,
            mini_batch_prompts=actor.ppo_mini_batch_size,
            epochs_per_batch=actor.ppo_epochs,
            devices=config.trainer.n_gpus_per_node * config.trainer.nnodes,
            micro_batch_per_device=None if actor.use_dynamic_bsz else actor.ppo_micro_batch_size_per_gpu,
            micro_batch_tokens=actor.ppo_max_token_len_per_gpu,
            prompt_limit=config.data.max_prompt_length,
            response_limit=config.data.max_response_length,
        )

    @property
    def responses(self) -> int:
        """Responses a step."""
        return self.prompts * self.responses_per_prompt

    @property
    def updates(self) -> int:
        """Optimizer updates a step."""
        return self.prompts // self.mini_batch_prompts * self.epochs_per_batch

    @property
    def responses_per_update(self) -> int:
        """Responses an update, over all devices."""
        return self.mini_batch_prompts * self.responses_per_prompt

    @property
    def tokens(self) -> int:
        """Most tokens a step can have: every prompt and response at its limit."""
        return self.responses * (self.prompt_limit + self.response_limit)

    @property
    def clip_can_act(self) -> bool:
        """From the second update on a batch the policy differs from the one that sampled it."""
        return self.updates > 1

    def table(self) -> Table:
        """The ledger for a terminal."""
        table = Table("batch ledger", "", title_justify="left")
        if self.micro_batch_per_device:
            count = self.responses_per_update // (self.micro_batch_per_device * self.devices)
            micro = f"{count} of {self.micro_batch_per_device} responses a device"
        else:
            micro = f"cut at {self.micro_batch_tokens:,} tokens a device"
        clip = "yes, from the second update" if self.clip_can_act else "no: one update a batch, the ratio is 1"
        for name, value in (
            ("prompts a step", f"{self.prompts:,}"),
            ("responses a step", f"{self.responses:,} ({self.responses_per_prompt} a prompt)"),
            ("updates a step", f"{self.updates} of {self.responses_per_update:,} responses"),
            ("micro-batches an update", micro),
            ("tokens a step", f"at most {self.tokens:,} ({self.prompt_limit} + {self.response_limit} a response)"),
            ("clipping can act", clip),
            ("devices", str(self.devices)),
        ):
            table.add_row(name, value)
        return table
