"""Bytes that a forward and a backward pass hold, counted tensor by tensor for transformers' own layers.

Korthikanti et al. 2022 (arXiv 2205.05198, section 4) count a GPT layer in the same way: what autograd saves for the
backward pass, plus, with checkpointing, each layer's input and one layer's worth recomputed. The terms here are those
of RMSNorm, grouped-query attention (a fused kernel: no matrix of scores) and a gated MLP, without dropout. Measured
against real steps: ``benchmarks/plan_memory.py``.
"""

from dataclasses import dataclass

from tr_grpo.trainer.plan.shapes import ModelShape

FP32 = 4
FLASH, TORCH = "flash", "torch"
"""How log-probabilities come from logits: flash-attn's cross entropy, whose backward writes into the logits, or verl's
``logprobs_from_logits_v2`` in torch, which holds the logits, their gradient by row and that stacked."""


@dataclass(frozen=True)
class Activations:
    """Bytes of one micro-batch on one GPU."""

    saved: int
    """Held from forward to backward: all layers, or their inputs where they are recomputed."""
    recomputed: int
    """One layer's activations, where layers are recomputed."""
    layer_gradients: int
    """Gradients of activations while the MLP, the widest part, goes backward."""
    head: int
    """The last norm's."""
    logits: int
    """All tensors of tokens × vocabulary alive at once."""
    logit_gradients: int = 0
    """Those left when the output layer goes backward."""

    @property
    def peak(self) -> int:
        """Either the logits go backward, when no layer has begun to, or a layer does, when the logits are gone."""
        return self.saved + max(self.head + self.logits, self.recomputed + self.layer_gradients)

    def peak_with(self, output_gradient: int) -> int:
        """:attr:`peak`, where the output layer's gradient is made beside one that earlier micro-batches have left."""
        return max(self.peak, self.saved + self.head + self.logit_gradients + output_gradient)


def norm_bytes(shape: ModelShape, width: int) -> int:
    """Saved by an RMSNorm for one token: its input in fp32, the normed input, the scaled output, a root mean square."""
    return shape.hidden * (FP32 + 2 * width) + FP32


def layer_bytes(shape: ModelShape, width: int) -> int:
    """Saved by a layer for one token, with numbers of ``width`` bytes.

    Two norms; queries, keys, values and attention's output, and its log-sum-exp a head in fp32; the MLP's gate before
    and after its activation, its other half, and their product. An output of a norm is counted there, not again as the
    input of the matrices behind it.
    """
    attention = width * (2 * shape.q_width + 2 * shape.kv_width) + FP32 * shape.heads
    qk_norms = shape.qk_norm * (shape.q_width + shape.kv_width) * (FP32 + width)
    return 2 * norm_bytes(shape, width) + attention + qk_norms + 4 * width * shape.intermediate


def logit_copies(loss: str, temperature: float) -> int:
    """Tensors of tokens × vocabulary at the peak of a backward pass without entropy.

    verl divides the logits by the temperature where it is not 1, which makes a copy forward and one backward.
    """
    if loss == FLASH:
        return 1 if temperature == 1 else 2
    return 3


def training(
    shape: ModelShape,
    tokens: int,
    *,
    width: int,
    checkpointing: bool,
    temperature: float = 1.0,
    loss: str = FLASH,
    fused: bool = False,
    entropy: bool = False,
    offload: bool = False,
) -> Activations:
    """A micro-batch of ``tokens`` through forward and backward.

    Args:
        width: bytes of a number in the layers' arithmetic.
        checkpointing: layers are recomputed (``enable_gradient_checkpointing``).
        fused: verl's fused kernels never hold all logits (``use_fused_kernels``).
        entropy: the loss has an entropy, whose softmax and gradient are held in fp32 (autocast).
        offload: saved activations wait on the host but for the layer at work (``enable_activation_offload``).
    """
    layer = tokens * layer_bytes(shape, width)
    inputs = tokens * shape.hidden * width
    saved = inputs * shape.layers if checkpointing else layer * shape.layers
    if offload:
        saved = min(saved, 2 * (inputs if checkpointing else layer))
    copies = 0 if fused else width * logit_copies(loss, temperature) + entropy * 2 * FP32
    return Activations(
        saved=saved,
        # The layer's input is among the saved already; in fp32 it is the same tensor that the norm saves.
        recomputed=layer - (inputs if width == FP32 else 0) if checkpointing else 0,
        layer_gradients=tokens * width * (2 * shape.intermediate + shape.hidden),
        head=tokens * norm_bytes(shape, width),
        logits=tokens * shape.vocab * copies,
        logit_gradients=0 if fused else tokens * shape.vocab * width * logit_copies(FLASH, temperature),
    )


def inference(
    shape: ModelShape,
    tokens: int,
    *,
    width: int,
    temperature: float,
    fused: bool,
    entropy: str = "",
    chunk: int = 0,
) -> Activations:
    """A micro-batch of ``tokens`` through forward alone, as for log-probabilities.

    Args:
        entropy: "" for none, "compiled" (fused: nothing of the logits' size is held) or "plain", which holds the logits
            and their softmax in fp32 (autocast) and the product of the two.
        chunk: tokens at a time of a plain entropy; 0 for all.
    """
    plain = min(tokens, chunk or tokens) * 3 * FP32 if entropy == "plain" else 0
    copies = tokens * width * (1 if temperature == 1 else 2)
    return Activations(
        saved=tokens * shape.hidden * width,
        recomputed=0,
        layer_gradients=tokens * width * (3 * shape.intermediate + shape.hidden),
        head=tokens * shape.hidden * (FP32 + width),
        logits=0 if fused else shape.vocab * (copies + plain),
    )
