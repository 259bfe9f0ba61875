"""The plan's parameter counts are transformers' own, to the last one."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PretrainedConfig, Qwen2Config, Qwen3Config

from tr_grpo.data_prep.errors import InputError
from tr_grpo.trainer.plan.shapes import KNOWN, ModelShape, from_folder, parse, resolve

SIZES = {
    "num_hidden_layers": 3,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_attention_heads": 6,
    "vocab_size": 301,
}
CONFIGS = [
    Qwen2Config(**SIZES, num_key_value_heads=2, tie_word_embeddings=True),
    Qwen2Config(**SIZES, num_key_value_heads=6, tie_word_embeddings=False),
    LlamaConfig(**SIZES, num_key_value_heads=3, tie_word_embeddings=False),
    LlamaConfig(**SIZES, num_key_value_heads=1, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    LlamaConfig(**SIZES, num_key_value_heads=2, head_dim=32),
    MistralConfig(**SIZES, num_key_value_heads=2, head_dim=16),
    Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=32),
    Qwen3Config(**SIZES, num_key_value_heads=2, attention_bias=True, tie_word_embeddings=True),
]


def on_meta(config: PretrainedConfig) -> torch.nn.Module:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def as_config(shape: ModelShape) -> Qwen2Config:
    return Qwen2Config(
        num_hidden_layers=shape.layers,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocab,
        tie_word_embeddings=shape.tied,
    )


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_a_folders_parameters_are_those_of_transformers_model(config: PretrainedConfig, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    shape = from_folder(tmp_path)
    model = on_meta(config)
    assert shape.parameters == count(model)
    assert shape.parameters_per_layer == count(model.model.layers[0])


@pytest.mark.parametrize("shape", {shape.parameters: shape for shape in KNOWN.values()}.values(), ids=lambda s: s.name)
def test_the_built_in_tables_parameters_are_those_of_transformers_model(shape: ModelShape) -> None:
    assert shape.parameters == count(on_meta(as_config(shape)))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # As the hub counts them in each model's safetensors.
        ("Qwen/Qwen2.5-0.5B-Instruct", 494_032_768),
        ("Qwen/Qwen2.5-1.5B", 1_543_714_304),
        ("Qwen/Qwen2.5-3B-Instruct", 3_085_938_688),
        ("Qwen/Qwen2.5-7B", 7_615_616_512),
        ("Qwen/Qwen2.5-14B", 14_770_033_664),
        ("Qwen/Qwen2.5-32B", 32_763_876_352),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1_777_088_000),
    ],
)
def test_the_built_in_sizes_are_the_published_ones(name: str, parameters: int) -> None:
    assert KNOWN[name].parameters == parameters


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_lora_adapts_every_linear_layer_but_the_output(config: PretrainedConfig, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    linear = [m for m in on_meta(config).model.modules() if isinstance(m, torch.nn.Linear)]
    shape = from_folder(tmp_path)
    assert shape.lora_parameters(8) == sum(8 * (m.in_features + m.out_features) for m in linear)
    assert shape.matmul_parameters == sum(m.weight.numel() for m in linear) + shape.vocab * shape.hidden


def test_the_tiny_model_is_known_before_it_is_made() -> None:
    shape = resolve("models/tiny_knights_knaves")
    assert shape.parameters == 833_792
    assert shape.name == "models/tiny_knights_knaves"


def test_a_given_shape_wins_and_fills_in_what_is_implied() -> None:
    shape = resolve("some/hub-name", "layers=3,hidden=96,intermediate=160,heads=6,vocab=301,tied=true")
    assert (shape.kv_heads, shape.head_dim, shape.tied, shape.source) == (6, 16, True, "--shape")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("layers=3", "hidden, intermediate, heads, vocab missing"),
        ("layers=3,depth=4", "'depth=4' is not size=number"),
        ("layers=three", "layers=three must be a whole number"),
        ("tied=maybe", "tied=maybe must be true or false"),
        ("name=x", "is not size=number"),
        ("layers=0,hidden=96,intermediate=160,heads=6,vocab=301", "layers=0 must be at least 1"),
        ("layers=1,hidden=96,intermediate=160,heads=6,kv_heads=4,vocab=301", "heads=6 must be a multiple"),
    ],
)
def test_a_bad_shape_is_one_line_that_names_the_size(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_an_unknown_hub_name_says_what_to_pass() -> None:
    with pytest.raises(InputError, match=r"no such folder, and not in the built-in table; pass a folder .* or --shape"):
        resolve("nobody/Unknown-9B")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not readable as JSON"),
        ("[]", "model_type=None is not covered"),
        (json.dumps({"model_type": "mamba"}), "model_type=mamba is not covered"),
        (json.dumps({"model_type": "qwen2"}), "num_attention_heads=None must be a whole number"),
        (json.dumps({"model_type": "qwen2", "num_attention_heads": "4"}), "num_attention_heads=4 must be a whole"),
    ],
)
def test_a_bad_config_is_named(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=says):
        resolve(str(tmp_path))
