"""The simulator of the learning comparison: it samples what it says, and its methods differ in the weight alone.

On a random model of two layers: shows that the machinery is right, nothing about what is learned.
"""

import dataclasses
from itertools import islice
from pathlib import Path

import pytest
import repository_root  # noqa: F401
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from benchmarks.learning.policy import choose, generate, log_probs, response_logits
from benchmarks.learning.settings import METHODS, Run, Settings
from benchmarks.learning.simulate import Batch, Simulator
from benchmarks.learning.tokens import KINDS, Kinds, bands
from tr_grpo.analysis.quickstart import PUZZLES
from tr_grpo.data_prep.knights_knaves import generate as generate_puzzles
from tr_grpo.data_prep.tiny_model import copy_shipped
from tr_grpo.data_prep.tiny_model.examples import chat_text
from tr_grpo.data_prep.tiny_model.talkative import add_words
from tr_grpo.recipe.policy_loss import token_weights

SETTINGS = Settings(prompts=4, responses=4, mini_batch=2, micro_batches=2, response_tokens=12, probe_every=1)
PROMPTS = [
    puzzle
    for people in (2, 3)
    for puzzle in islice(generate_puzzles(dataclasses.replace(PUZZLES, people=people), 3), 2)
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    folder: Path = tmp_path_factory.mktemp("model") / "tiny"
    copy_shipped(folder)
    loaded = AutoTokenizer.from_pretrained(folder)
    add_words(new_model(len(loaded), loaded), loaded, seed=0)
    return loaded


def new_model(vocabulary: int, tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2Config(
        vocab_size=vocabulary,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.4,
        **sizes,
    )
    return Qwen2ForCausalLM(config).eval()


class Coin(Simulator):
    """Rewards by the first token's parity: a random model never solves a puzzle."""

    def _rewards(self, rollout, puzzles):  # type: ignore[no-untyped-def]
        return (rollout.responses[:, 0] % 2).float()


def simulator(tokenizer: PreTrainedTokenizerFast, method: str, seed: int = 1, lr: float = 3e-2) -> Coin:
    run = Run(method, lr, seed)
    return Coin(new_model(len(tokenizer), tokenizer), tokenizer, run.actor(SETTINGS), lr, seed, SETTINGS)


def two_steps(simulated: Simulator) -> list[dict[str, float]]:
    return [simulated.step(number, PROMPTS) for number in (1, 2)]


def prompts(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    return [chat_text(tokenizer, puzzle) for puzzle in PROMPTS]


def test_sampled_log_probs_equal_those_of_a_forward_pass(tokenizer: PreTrainedTokenizerFast) -> None:
    model = new_model(len(tokenizer), tokenizer)
    model.get_input_embeddings().weight.data[tokenizer.eos_token_id] *= 3  # so that rows end and are dropped
    rollout = generate(model, tokenizer, prompts(tokenizer), 8, 30, torch.Generator().manual_seed(0))
    with torch.no_grad():
        forward = log_probs(model, rollout)
    lengths = rollout.lengths
    assert lengths.min() < 8 < lengths.max()
    torch.testing.assert_close(forward[rollout.response_mask], rollout.log_probs[rollout.response_mask])
    assert not rollout.log_probs[~rollout.response_mask].any()


def test_a_greedy_response_is_the_likeliest_token_each_time(tokenizer: PreTrainedTokenizerFast) -> None:
    model = new_model(len(tokenizer), tokenizer)
    rollout = generate(model, tokenizer, prompts(tokenizer), 1, 12, None)
    with torch.no_grad():
        likeliest = response_logits(model, rollout).argmax(-1)
    assert torch.equal(likeliest[rollout.response_mask], rollout.responses[rollout.response_mask])


def test_tokens_are_drawn_with_their_probability() -> None:
    distribution = torch.tensor([0.5, 0.2, 0.0, 0.3]).log().expand(100_000, 4)
    drawn = choose(distribution, torch.rand(100_000, generator=torch.Generator().manual_seed(0)))
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.2, 0.0, 0.3]), atol=0.005, rtol=0)
    assert choose(distribution[:1], torch.tensor([1.0]))[0] == 3  # never outside the vocabulary


def test_rows_keep_tokens_and_drop_padding(tokenizer: PreTrainedTokenizerFast) -> None:
    model = new_model(len(tokenizer), tokenizer)
    rollout = generate(model, tokenizer, prompts(tokenizer), 2, 12, torch.Generator().manual_seed(0))
    part = rollout.rows(torch.tensor([0, 1]))  # 2 people: shorter prompts
    assert part.prompt_mask.any(0).all()
    assert part.prompts.shape[1] < rollout.prompts.shape[1]
    with torch.no_grad():
        whole, alone = log_probs(model, rollout), log_probs(model, part)
    torch.testing.assert_close(whole[:2, : alone.shape[1]][part.response_mask], alone[part.response_mask])


def test_uniform_equals_grpo_bit_for_bit_over_two_steps(tokenizer: PreTrainedTokenizerFast) -> None:
    grpo, uniform = simulator(tokenizer, "grpo"), simulator(tokenizer, "uniform")
    assert two_steps(grpo) == two_steps(uniform)
    for ours, verls in zip(uniform.model.parameters(), grpo.model.parameters(), strict=True):
        assert torch.equal(ours, verls)


def test_the_same_seed_is_the_same_run_and_another_is_not(tokenizer: PreTrainedTokenizerFast) -> None:
    first, again, other = (two_steps(simulator(tokenizer, "tr_grpo", seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("method", [name for name in METHODS if name != "grpo"])
def test_methods_sample_alike_in_the_first_step_and_then_part(tokenizer: PreTrainedTokenizerFast, method: str) -> None:
    grpo, other = two_steps(simulator(tokenizer, "grpo")), two_steps(simulator(tokenizer, method))
    for key in ("reward", "tokens", "log_prob", "share_lower", "sharpness"):
        assert grpo[0][key] == other[0][key]
    assert grpo[0]["grad_norm_1"] != other[0]["grad_norm_1"]
    assert grpo[1]["log_prob"] != other[1]["log_prob"]


def test_clipping_acts_from_the_second_update_on(tokenizer: PreTrainedTokenizerFast) -> None:
    assert simulator(tokenizer, "grpo", lr=0.1).step(1, PROMPTS)["clipped"] > 0


def test_the_probe_leaves_weights_as_they_were(tokenizer: PreTrainedTokenizerFast) -> None:
    probed, plain = simulator(tokenizer, "grpo"), simulator(tokenizer, "grpo")
    plain.settings = dataclasses.replace(SETTINGS, probe_every=100)
    two_steps(probed)
    two_steps(plain)
    for one, other in zip(probed.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_normalised_weights_have_mean_one_over_the_mini_batch(tokenizer: PreTrainedTokenizerFast) -> None:
    simulated = simulator(tokenizer, "tr_grpo_normalized")
    rollout = generate(simulated.model, tokenizer, prompts(tokenizer), 4, 12, torch.Generator().manual_seed(0))
    simulated.backward(Batch(rollout, torch.zeros(rollout.responses.shape)), simulated.actor)
    weights = token_weights(simulated.actor.policy_loss, rollout.log_probs, rollout.log_probs)
    torch.testing.assert_close(weights[rollout.response_mask].mean(), torch.tensor(1.0))


def test_masses_add_up_to_one_and_bands_are_the_default_weights(tokenizer: PreTrainedTokenizerFast) -> None:
    row = two_steps(simulator(tokenizer, "reverse"))[0]
    assert sum(row[f"mass_{name}"] for name in ("lower", "ramp", "upper")) == pytest.approx(1)
    assert sum(row[f"mass_{name}"] for name in KINDS) == pytest.approx(1)
    assert bands(torch.tensor([0.0, 0.25, 0.2501, 0.34, 0.345, 1.0])).tolist() == [0, 0, 1, 1, 2, 2]


def test_each_token_of_a_talkative_response_is_told_for_what_it_is(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "<think> suppose Mia knight Noah knave so liar honest no hmm, let</think><answer>(1) Mia is a knave"
    ids = tokenizer(text, return_tensors="pt").input_ids
    kinds = [KINDS[k] for k in Kinds(tokenizer)(ids)[0]]
    expected = ["logic", "choice", "logic", "role", "logic", "role", "wording", "role", "role", "logic", "wording"]
    assert kinds[:13] == [*expected, "logic", "wording"]
    assert set(kinds[13:]) == {"answer"}
