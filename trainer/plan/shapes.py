"""The shape of a decoder-only transformer, and its parameters counted exactly.

Covers the families whose layer is RMSNorm, grouped-query attention with rotary positions, RMSNorm and a gated MLP:
Llama, Mistral, Qwen2 (biases on q, k and v) and Qwen3 (norms on q and k). A test compares every count with
transformers' own model.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import tr_grpo.data_prep
from tr_grpo.data_prep.errors import InputError

FAMILIES: Mapping[str, Mapping[str, bool]] = {
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True},
    "llama": {},
    "mistral": {},
}
"""``model_type`` of ``config.json`` and what its layer has beside the common parts."""


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a model; ``source`` says where they come from."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    """Width of the MLP."""
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    """The output layer is the embedding."""
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    source: str = "given"

    def __post_init__(self) -> None:
        sizes = ("layers", "hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocab")
        for size in sizes:
            if getattr(self, size) < 1:
                raise InputError(f"model shape: {size}={getattr(self, size)} must be at least 1")
        if self.heads % self.kv_heads:
            raise InputError(f"model shape: heads={self.heads} must be a multiple of kv_heads={self.kv_heads}")

    @property
    def q_width(self) -> int:
        """Elements of one token's queries."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Elements of one token's keys; its values have as many."""
        return self.kv_heads * self.head_dim

    @property
    def matrix_parameters_per_layer(self) -> int:
        """Parameters of the seven matrices of a layer: those that cost arithmetic."""
        return self.hidden * (2 * self.q_width + 2 * self.kv_width) + 3 * self.hidden * self.intermediate

    @property
    def parameters_per_layer(self) -> int:
        """All parameters of a layer."""
        biases = (
            self.qkv_bias * (self.q_width + 2 * self.kv_width)
            + self.o_bias * self.hidden
            + self.mlp_bias * (2 * self.intermediate + self.hidden)
        )
        norms = 2 * self.hidden + self.qk_norm * 2 * self.head_dim
        return self.matrix_parameters_per_layer + biases + norms

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding, which is also the largest single tensor."""
        return self.vocab * self.hidden

    @property
    def root_parameters(self) -> int:
        """Parameters outside the layers: embedding, output layer where it is its own, last norm."""
        return self.embedding_parameters * (1 if self.tied else 2) + self.hidden

    @property
    def parameters(self) -> int:
        """All parameters, a tied output layer counted once."""
        return self.layers * self.parameters_per_layer + self.root_parameters

    @property
    def matmul_parameters(self) -> int:
        """Parameters that each token is multiplied with: the layers' matrices and the output layer."""
        return self.layers * self.matrix_parameters_per_layer + self.embedding_parameters

    def lora_parameters(self, rank: int) -> int:
        """Parameters of LoRA adapters of ``rank`` on all linear layers but the output (``target_modules=all-linear``).

        An adapter of a matrix (in, out) has rank · (in + out) parameters (Hu et al. 2021, arXiv 2106.09685).
        """
        attention = 2 * (self.hidden + self.q_width) + 2 * (self.hidden + self.kv_width)
        return self.layers * rank * (attention + 3 * (self.hidden + self.intermediate))

    @property
    def kv_elements_per_token(self) -> int:
        """Elements of the KV cache that one token occupies: keys and values of every layer (Kwon et al. 2309.06180)."""
        return 2 * self.layers * self.kv_width


def _qwen2(
    name: str, layers: int, hidden: int, intermediate: int, heads: int, kv: int, vocab: int, tied: bool
) -> ModelShape:
    return ModelShape(
        name, layers, hidden, intermediate, heads, kv, hidden // heads, vocab, tied, True, source="built-in table"
    )


_QWEN2_5 = (
    # Each model's config.json on the hub; Instruct, Math and 1M models differ from their base in context alone.
    (("Qwen2.5-0.5B", "Qwen2.5-0.5B-Instruct"), (24, 896, 4864, 14, 2, 151936, True)),
    (
        ("Qwen2.5-1.5B", "Qwen2.5-1.5B-Instruct", "Qwen2.5-Math-1.5B", "Qwen2.5-Math-1.5B-Instruct"),
        (28, 1536, 8960, 12, 2, 151936, True),
    ),
    (("Qwen2.5-3B", "Qwen2.5-3B-Instruct"), (36, 2048, 11008, 16, 2, 151936, True)),
    (
        (
            "Qwen2.5-7B",
            "Qwen2.5-7B-Instruct",
            "Qwen2.5-7B-Instruct-1M",
            "Qwen2.5-Math-7B",
            "Qwen2.5-Math-7B-Instruct",
        ),
        (28, 3584, 18944, 28, 4, 152064, False),
    ),
    (("Qwen2.5-14B", "Qwen2.5-14B-Instruct"), (48, 5120, 13824, 40, 8, 152064, False)),
    (("Qwen2.5-32B", "Qwen2.5-32B-Instruct"), (64, 5120, 27648, 40, 8, 152064, False)),
)
KNOWN: Mapping[str, ModelShape] = {
    f"Qwen/{name}": _qwen2(f"Qwen/{name}", *sizes) for names, sizes in _QWEN2_5 for name in names
} | {
    # Made from Qwen2.5-Math-1.5B, with an output layer of its own.
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": _qwen2(
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 28, 1536, 8960, 12, 2, 151936, False
    ),
}
"""Shapes of the hub names that the ``llm`` presets use, and their relatives."""
SHIPPED = {"tiny_knights_knaves": "weights", "tiny_arithmetic": "weights_arithmetic", "tiny_facts": "weights_facts"}
"""The project's own tiny models, before ``tr-grpo prep tiny-model`` has copied them."""


def from_folder(folder: Path) -> ModelShape:
    """The shape in a model folder's ``config.json``.

    Raises:
        InputError: no such file, not JSON, a family that is not covered, a missing or bad size.
    """
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise InputError(f"{path}: not readable as JSON ({problem})") from problem
    family = str(settings.get("model_type") if isinstance(settings, dict) else None)
    if family not in FAMILIES:
        raise InputError(
            f"{path}: model_type={family} is not covered ({', '.join(FAMILIES)} are); pass its sizes with --shape"
        )

    def size(key: str, default: int | None = None) -> int:
        value = settings.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(f"{path}: {key}={value} must be a whole number")
        return value

    heads, hidden = size("num_attention_heads"), size("hidden_size")
    bias = bool(settings.get("attention_bias", False)) and family in ("llama", "qwen3")
    return ModelShape(
        name=str(folder),
        layers=size("num_hidden_layers"),
        hidden=hidden,
        intermediate=size("intermediate_size"),
        heads=heads,
        kv_heads=size("num_key_value_heads", heads),
        # Qwen3's own default; the other families divide the width.
        head_dim=size("head_dim", 128 if family == "qwen3" else hidden // max(heads, 1)),
        vocab=size("vocab_size"),
        tied=bool(settings.get("tie_word_embeddings", False)),
        qkv_bias=FAMILIES[family].get("qkv_bias", bias),
        o_bias=bias,
        mlp_bias=bool(settings.get("mlp_bias", False)) and family == "llama",
        qk_norm=FAMILIES[family].get("qk_norm", False),
        source="config.json",
    )


def parse(text: str) -> ModelShape:
    """A shape from ``--shape``: ``hidden=2048,layers=36,heads=16,kv_heads=2,intermediate=11008,vocab=151936``.

    ``kv_heads`` is ``heads``, ``head_dim`` is ``hidden / heads`` and the flags are false where they are not given.
    """
    kinds: dict[str, Any] = {field.name: field.type for field in fields(ModelShape)}
    words: dict[str, Any] = {}
    for pair in text.split(","):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or key not in kinds or key in ("name", "source"):
            known = ", ".join(name for name in kinds if name not in ("name", "source"))
            raise InputError(f"--shape: {pair.strip()!r} is not size=number; the sizes are {known}")
        if kinds[key] is bool:
            if value.lower() not in ("true", "false"):
                raise InputError(f"--shape: {key}={value} must be true or false")
            words[key] = value.lower() == "true"
        elif value.isdecimal():
            words[key] = int(value)
        else:
            raise InputError(f"--shape: {key}={value} must be a whole number")
    missing = [key for key in ("layers", "hidden", "intermediate", "heads", "vocab") if key not in words]
    if missing:
        raise InputError(f"--shape: {', '.join(missing)} missing, e.g. {missing[0]}=24")
    words.setdefault("kv_heads", words["heads"])
    words.setdefault("head_dim", words["hidden"] // max(words["heads"], 1))
    words.setdefault("tied", False)
    return ModelShape(name="--shape", source="--shape", **words)


def resolve(path: str, given: str | None = None) -> ModelShape:
    """The shape of ``actor_rollout_ref.model.path``: ``--shape``, a local folder, or the built-in table.

    Raises:
        InputError: neither a folder nor in the table.
    """
    if given is not None:
        return replace(parse(given), name=path or "--shape")
    folder = Path(path).expanduser()
    if path and folder.is_dir():
        return from_folder(folder)
    if path in KNOWN:
        return KNOWN[path]
    if folder.name in SHIPPED:
        return replace(
            from_folder(Path(tr_grpo.data_prep.__path__[0]) / "tiny_model" / SHIPPED[folder.name]), name=path
        )
    raise InputError(
        f"actor_rollout_ref.model.path={path or '(empty)'}: no such folder, and not in the built-in table; "
        "pass a folder with config.json, or --shape layers=…,hidden=…,intermediate=…,heads=…,kv_heads=…,vocab=…"
    )
