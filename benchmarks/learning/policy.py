"""The policy: sampling with a key-value cache, and log-probabilities of what was sampled."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedTokenizerFast, Qwen2ForCausalLM
from transformers.cache_utils import Cache, DynamicLayer

COMPACT_EVERY = 8  # tokens between two drops of finished rows
SPARE = 16  # tokens that the cache has room for before it has to move
ONE_TOKEN = "one_token"  # the attention below, by the name that transformers knows it


def one_token_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Attention of one new token, without copying keys for the heads that share them: sampling takes half the time.

    Args:
        query: (R, heads, 1, D).
        key, value: (R, key heads, K, D).
        attention_mask: true where a row may look, (R, 1, 1, K).
    """
    rows, heads, _one, size = query.shape
    grouped = query.view(rows, key.shape[1], heads // key.shape[1], size)
    scores = (grouped @ key.transpose(2, 3) * scaling).masked_fill_(~attention_mask, float("-inf"))
    return (scores.softmax(-1) @ value).view(rows, 1, heads, size), None


class RoomyLayer(DynamicLayer):
    """A layer of the key-value cache with room to grow, where ``DynamicLayer`` copies itself at each token."""

    keys: Tensor  # (R, key heads, K, D)
    values: Tensor
    _room: Tensor  # both, with what is spare: (2, R, key heads, K + spare, D)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append (R, key heads, new, D); returns all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[2]
        rows, heads, _new, size = key_states.shape
        if before == 0 or self._room.shape[1] != rows or self._room.shape[3] < after:
            self._room = key_states.new_empty(2, rows, heads, after + SPARE, size)
            if before:
                self._room[0, :, :, :before], self._room[1, :, :, :before] = self.keys, self.values
        self._room[0, :, :, before:after], self._room[1, :, :, before:after] = key_states, value_states
        self.keys, self.values = self._room[:, :, :, :after]
        return self.keys, self.values


AttentionInterface.register(ONE_TOKEN, one_token_attention)


@contextmanager
def _one_token(model: Qwen2ForCausalLM) -> Iterator[None]:
    usual = model.config._attn_implementation
    model.config._attn_implementation = ONE_TOKEN
    try:
        yield
    finally:
        model.config._attn_implementation = usual


@dataclass(frozen=True)
class Rollout:
    """Responses to prompts. R rows, P prompt tokens (padded on the left), T response tokens (on the right).

    Attributes:
        prompts: token ids, (R, P).
        prompt_mask: true where the prompt is not padding, (R, P).
        responses: token ids, (R, T).
        response_mask: true up to and with the end-of-turn token, (R, T).
        log_probs: of each sampled token as it was sampled, 0 after the end, (R, T).
    """

    prompts: Tensor
    prompt_mask: Tensor
    responses: Tensor
    response_mask: Tensor
    log_probs: Tensor

    @property
    def lengths(self) -> Tensor:
        """Response tokens of each row, (R,)."""
        return self.response_mask.sum(1)

    def rows(self, index: Tensor) -> "Rollout":
        """The rows ``index`` without the columns that are padding in all of them."""
        prompt_mask, response_mask = self.prompt_mask[index], self.response_mask[index]
        first, last = int((~prompt_mask.any(0)).sum()), int(response_mask.any(0).sum())
        return Rollout(
            self.prompts[index, first:],
            prompt_mask[:, first:],
            self.responses[index, :last],
            response_mask[:, :last],
            self.log_probs[index, :last],
        )


@torch.no_grad()
def generate(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    samples: int,
    limit: int,
    generator: torch.Generator | None,
) -> Rollout:
    """``samples`` responses to each prompt, rows of one prompt together: greedy, or at temperature 1.

    One uniform number a row and position decides each token (inverse of the cumulative distribution), drawn
    before the first token, so the noise is the same for policies that answer differently.

    Args:
        limit: largest number of response tokens.
        generator: of the noise; None is greedy.
    """
    encoded = tokenizer(list(prompts), padding=True, padding_side="left", return_tensors="pt")
    prompt_mask = encoded.attention_mask.bool()
    cache = Cache(layer_class_to_replicate=RoomyLayer)
    positions = (prompt_mask.cumsum(1) - 1).clamp(min=0)
    logits = model(
        input_ids=encoded.input_ids,
        attention_mask=encoded.attention_mask,
        position_ids=positions,
        past_key_values=cache,
        logits_to_keep=1,
    ).logits[:, -1]
    cache.batch_repeat_interleave(samples)
    logits = logits.repeat_interleave(samples, 0)
    prompt_ids, prompt_mask = (t.repeat_interleave(samples, 0) for t in (encoded.input_ids, prompt_mask))
    rows, length = prompt_ids.shape
    uniforms = None if generator is None else torch.rand(rows, limit, generator=generator)
    responses = torch.full((rows, limit), tokenizer.pad_token_id)
    log_probs = torch.zeros(rows, limit)
    mask = torch.zeros(rows, limit, dtype=torch.bool)
    alive = torch.arange(rows)
    running = torch.ones(rows, dtype=torch.bool)
    # Keys that each row may look at; all of its response's keys count.
    seen = torch.cat([prompt_mask, torch.ones(rows, limit, dtype=torch.bool)], 1)
    position = prompt_mask.sum(1)
    for step in range(limit):
        distribution = logits.float().log_softmax(-1)
        token = choose(distribution, None if uniforms is None else uniforms[alive, step])
        now = alive[running]
        responses[now, step] = token[running]
        log_probs[now, step] = distribution.gather(1, token[:, None])[running, 0]
        mask[now, step] = True
        running = running & (token != tokenizer.eos_token_id)
        if step + 1 == limit or not running.any():
            break
        if step % COMPACT_EVERY == 0 and not running.all():
            keep = running.nonzero()[:, 0]
            cache.batch_select_indices(keep)
            alive, token, position, running = alive[keep], token[keep], position[keep], running[keep]
        with _one_token(model):
            logits = model(
                input_ids=token[:, None],
                attention_mask=seen[alive, None, None, : length + step + 1],
                position_ids=position[:, None] + step,
                past_key_values=cache,
            ).logits[:, -1]
    last = int(mask.any(0).sum())
    return Rollout(prompt_ids, prompt_mask, responses[:, :last], mask[:, :last], log_probs[:, :last])


def choose(distribution: Tensor, uniforms: Tensor | None) -> Tensor:
    """One token a row, (R,), from log-probabilities (R, V): the likeliest, or the one that (R,) numbers select."""
    if uniforms is None:
        return distribution.argmax(-1)
    cumulative = distribution.exp().cumsum(-1)
    tokens = torch.searchsorted(cumulative, (uniforms * cumulative[:, -1])[:, None], right=True)[:, 0]
    return tokens.clamp_(max=cumulative.shape[1] - 1)  # a product rounded up to the whole


def response_logits(model: Qwen2ForCausalLM, rollout: Rollout) -> Tensor:
    """Logits that predict each response token, (R, T, V)."""
    tokens = torch.cat([rollout.prompts, rollout.responses], 1)
    mask = torch.cat([rollout.prompt_mask, rollout.response_mask], 1)
    steps = rollout.responses.shape[1]
    output = model(
        input_ids=tokens,
        attention_mask=mask.long(),
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        logits_to_keep=steps + 1,
        use_cache=False,
    )
    return output.logits[:, :-1]


def log_probs(model: Qwen2ForCausalLM, rollout: Rollout) -> Tensor:
    """log pi of each response token, (R, T); with a gradient where torch records one."""
    logits = response_logits(model, rollout).float()
    return logits.log_softmax(-1).gather(2, rollout.responses[..., None])[..., 0]
