"""Memory of real training steps against the plan's arithmetic, on a CPU, without a GPU or a network.

    .venv/bin/python benchmarks/plan_memory.py

A step is what verl's engine does to a mini-batch: two micro-batches forward and backward, whose gradients add up, and
AdamW (foreach, as on a GPU), of a random model. torch's profiler reports every allocation and release of tensors'
memory, those inside an operation too, so the peak is exact in bytes: no estimate, and nothing of the process besides.
The log-probabilities are verl's ``logprobs_from_logits_v2``; flash-attn's cross entropy, which GPUs use, does not run
here, so the count of logits on a GPU is read from verl's code and not measured.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tr_grpo.trainer.plan import activations
from tr_grpo.trainer.plan.shapes import ModelShape

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 0.15


@dataclass(frozen=True)
class Case:
    """A model and a micro-batch of ``rows`` × ``columns`` tokens."""

    shape: ModelShape
    rows: int
    columns: int
    checkpointing: bool
    temperature: float = 1.0
    bf16: bool = False

    @property
    def tokens(self) -> int:
        """Of a micro-batch."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Peaks:
    """Bytes at the peak of the backward passes and of the optimizer's step, and of the parameters."""

    parameters: int
    backward: int
    optimizer: int

    @property
    def activations(self) -> int:
        """The backward's peak without weights, gradients and the two states of AdamW, which are exact."""
        return self.backward - 4 * self.parameters

    def off(self, measured: "Peaks") -> float:
        """The largest relative error: of the parameters, the activations alone, and the optimizer's step."""
        pairs = (
            (self.parameters, measured.parameters),
            (self.activations, measured.activations),
            (self.optimizer, measured.optimizer),
        )
        return max(abs(mine / theirs - 1) for mine, theirs in pairs)


def _shape(
    name: str, layers: int, hidden: int, intermediate: int, heads: int, kv: int, vocab: int, tied: bool = True
) -> ModelShape:
    return ModelShape(name, layers, hidden, intermediate, heads, kv, hidden // heads, vocab, tied, qkv_bias=True)


TINY = _shape("tiny", 4, 128, 384, 4, 2, 353)
WIDE = _shape("wide", 2, 256, 1024, 8, 2, 8000, tied=False)
DEEP = _shape("deep", 12, 128, 512, 4, 4, 64)
WORDS = _shape("words", 2, 64, 128, 4, 4, 20000)
CASES = (
    *(Case(shape, 4, 256, checkpointing) for shape in (TINY, WIDE, DEEP) for checkpointing in (False, True)),
    Case(WORDS, 2, 256, True),
    Case(WIDE, 2, 256, True, temperature=0.6),
    *(Case(shape, 4, 256, checkpointing, bf16=True) for shape in (TINY, DEEP) for checkpointing in (False, True)),
)


def predict(case: Case) -> Peaks:
    """The plan's formulas for one process: weights, gradients, two states, and the fullest moment on top."""
    width = 2 if case.bf16 else 4
    weights = case.shape.parameters * width
    held = activations.training(
        case.shape,
        case.tokens,
        width=width,
        checkpointing=case.checkpointing,
        temperature=case.temperature,
        loss=activations.TORCH,
    )
    return Peaks(weights, 4 * weights + held.peak_with(case.shape.embedding_parameters * width), 5 * weights)


def measure(case: Case) -> Peaks:
    """The same from a real step, the second of its run (the first makes AdamW's states)."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    shape = case.shape
    config = Qwen2Config(
        num_hidden_layers=shape.layers,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocab,
        tie_word_embeddings=shape.tied,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        config, attn_implementation="sdpa", dtype=torch.bfloat16 if case.bf16 else torch.float32
    )
    model.train()
    if case.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    optimizer = torch.optim.AdamW(model.parameters(), foreach=True)
    tokens = torch.randint(0, shape.vocab, (case.rows, case.columns))

    def micro_batch() -> None:
        logits = model(input_ids=tokens, use_cache=False).logits
        if case.temperature != 1:
            logits = logits / case.temperature
        logprobs(logits, tokens).mean().neg().backward()

    micro_batch()
    optimizer.step()
    optimizer.zero_grad()
    parameters = sum(parameter.nbytes for parameter in model.parameters())
    micro_batch()
    # Present before each of the two: weights, two states, and the gradients.
    backward = 4 * parameters + _peak(micro_batch)
    return Peaks(parameters, backward, 4 * parameters + _peak(optimizer.step))


def logprobs(logits: "Tensor", labels: "Tensor") -> "Tensor":
    """verl's ``logprobs_from_logits_v2`` for fp32; a test compares the two."""
    import torch

    chosen = torch.gather(logits, dim=-1, index=labels.unsqueeze(-1)).squeeze(-1)
    return chosen - torch.stack([torch.logsumexp(row, dim=-1) for row in logits])


def _peak(work: Callable[[], object]) -> int:
    """Most bytes of tensors that ``work`` holds at a time beyond those that were there before."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = top = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        top = max(top, live)
    return top


def main(arguments: Sequence[str]) -> int:
    """Without arguments: each case in a process of its own. With a number: that case."""
    if arguments:
        case = CASES[int(arguments[0])]
        predicted, measured = predict(case), measure(case)
        off = predicted.off(measured)
        print(
            f"| {case.shape.name} | {'bf16' if case.bf16 else 'fp32'} | {'yes' if case.checkpointing else 'no'} | "
            f"{case.temperature:g} | {_pair(predicted.backward, measured.backward)} | "
            f"{_pair(predicted.activations, measured.activations)} | {_pair(predicted.optimizer, measured.optimizer)} |"
        )
        return int(off > TOLERANCE)
    print("MB, plan / measured. Activations: the backward's peak without weights, gradients and AdamW's states.\n")
    print("| model | numbers | recomputed | temperature | backward | activations of it | optimizer step |")
    print("|---|---|---|---|---|---|---|", flush=True)
    return max(
        subprocess.run([sys.executable, __file__, str(number)], check=False).returncode for number in range(len(CASES))
    )


def _pair(predicted: int, measured: int) -> str:
    return f"{predicted / 1e6:.2f} / {measured / 1e6:.2f} ({predicted / measured - 1:+.1%})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
