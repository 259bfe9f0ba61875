"""Recorded responses: what is chosen, what is written, and that the pieces of a text are the text."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import NonTensorStack, TensorDict
from transformers import AutoTokenizer

from tr_grpo.analysis.run_folder import Response, read_responses
from tr_grpo.data_prep.tiny_model.files import copy_shipped
from tr_grpo.recipe.token_ledger import TokenLedger, WeightRange, describe, masses
from tr_grpo.recipe.token_record import FLOATS, SCHEMA, TokenRecorder, file_name


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer") / "model"
    copy_shipped(folder)
    return AutoTokenizer.from_pretrained(folder)


def jagged(rows: list[list[float]]) -> torch.Tensor:
    return torch.nested.as_nested_tensor([torch.tensor(row) for row in rows], layout=torch.jagged)


def mini_batch(step: int, uids: list[str], advantages: list[float], tokenizer: Any) -> TensorDict:
    """Responses of 2, 3, 4, ... tokens; the reward is at the last."""
    rows = len(uids)
    lengths = [2 + row for row in range(rows)]
    ids = tokenizer.encode("Zoey is a knight")
    responses = [(ids * 9)[:length] for length in lengths]
    data = TensorDict(
        {
            "responses": torch.nested.as_nested_tensor([torch.tensor(row) for row in responses], layout=torch.jagged),
            "prompts": torch.nested.as_nested_tensor([torch.tensor(ids)] * rows, layout=torch.jagged),
            "advantages": jagged([[a] * n for a, n in zip(advantages, lengths, strict=True)]),
            "response_mask": torch.nested.as_nested_tensor(
                [torch.ones(n, dtype=torch.long) for n in lengths], layout=torch.jagged
            ),
            "rm_scores": jagged([[0.0] * (n - 1) + [a + 1] for a, n in zip(advantages, lengths, strict=True)]),
        },
        batch_size=rows,
    )
    sessions = [uids[:row].count(uid) for row, uid in enumerate(uids)]
    extra = {"reward_extra_info": {"acc": 1.0, "verdict_right": 1.0, "verdict_wrong": 0.0}}
    for name, values in {
        "uid": uids,
        "session_id": sessions,
        "global_steps": [step] * rows,
        "data_source": ["knights_knaves"] * rows,
        "extra_fields": [extra] * rows,
        "reward_model": [{"style": "rule", "ground_truth": "Zoey is a knight"}] * rows,
    }.items():
        data[name] = NonTensorStack(*values)
    return data


def recorded(recorder: TokenRecorder, data: TensorDict, mass: float = 2.0) -> list[Response]:
    """One update of one micro-batch, with values that tell the token and the column apart."""
    recorder.begin(data)
    width = 2 + len(data["uid"])
    grid = torch.arange(len(data["uid"]) * width, dtype=torch.float32).view(-1, width)
    values = {name: grid + 1000 * place for place, name in enumerate(FLOATS)}
    mask = data["response_mask"].to_padded_tensor(0)
    mask = torch.nn.functional.pad(mask, (0, width - mask.shape[1]))
    for row, key in recorder.wanted(data):
        recorder.add(row, key, data, values, mask)
    path = recorder.write(mass, mass / 2)
    return [] if path is None else read_responses(path)


def test_every_token_of_a_chosen_response_is_written_as_it_was_used(tmp_path: Path, tokenizer: Any) -> None:
    recorder = TokenRecorder(tmp_path, 8, 1, tokenizer)
    data = mini_batch(3, ["a", "a", "b"], [1.0, -1.0, 0.5], tokenizer)
    rows = recorded(recorder, data)
    assert [(row.uid, row.session, len(row.ids)) for row in rows] == [("a", 0, 2), ("a", 1, 3), ("b", 0, 4)]
    for number, row in enumerate(rows):
        for place, name in enumerate(FLOATS):
            start = 1000 * place + 5 * number
            assert getattr(row, name) == [float(start + token) for token in range(len(row.ids))]
        assert row.mask == [True] * len(row.ids)
        assert (row.step, row.update, row.verdict, row.data_source) == (3, 0, "right", "knights_knaves")
        assert (row.update_mass, row.update_mass_before, row.ground_truth) == (2.0, 1.0, "Zoey is a knight")
        assert "".join(row.tokens) == tokenizer.decode(row.ids)
    assert [row.score for row in rows] == [2.0, 0.0, 1.5]
    assert pq.read_schema(tmp_path / file_name(3, 0)) == SCHEMA


def test_responses_with_a_gradient_come_first_and_groups_stay_together(tmp_path: Path, tokenizer: Any) -> None:
    recorder = TokenRecorder(tmp_path, 3, 1, tokenizer)
    data = mini_batch(1, ["a", "c", "b", "a", "b"], [0.0, 1.0, 1.0, 0.0, -1.0], tokenizer)
    assert [(row.uid, row.session) for row in recorded(recorder, data)] == [("b", 0), ("b", 1), ("c", 0)]
    data["response_mask"].values()[:] = 0  # left out of the loss: no better than one without an advantage
    assert [(row.uid, row.session) for row in recorded(recorder, data)] == [("a", 0), ("a", 1), ("b", 0)]


def test_updates_are_counted_within_a_step_and_steps_may_be_left_out(tmp_path: Path, tokenizer: Any) -> None:
    recorder = TokenRecorder(tmp_path, 1, 2, tokenizer)
    for step in (1, 1, 2, 3, 4, 4, 5):
        recorded(recorder, mini_batch(step, ["a"], [1.0], tokenizer))
    expected = [(1, 0), (1, 1), (3, 0), (5, 0)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [file_name(*place) for place in expected]


def test_a_row_that_verl_repeats_to_fill_a_batch_is_recorded_once(tmp_path: Path, tokenizer: Any) -> None:
    data = mini_batch(1, ["a", "a"], [1.0, 1.0], tokenizer)
    data["session_id"] = NonTensorStack(0, 0)
    recorder = TokenRecorder(tmp_path, 4, 1, tokenizer)
    recorder.begin(data)
    assert len({key for _, key in recorder.wanted(data)}) == 1
    assert len(recorded(recorder, data)) == 1


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40))
def test_the_pieces_of_a_text_are_the_text(tokenizer: Any, text: str) -> None:
    """Byte-level tokens cut characters anywhere: the piece stands at the last of a character's tokens."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    pieces = TokenRecorder(Path(), 1, 1, tokenizer).pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokenizer.decode(ids)


def test_special_tokens_and_broken_characters_are_shown(tokenizer: Any) -> None:
    recorder = TokenRecorder(Path(), 1, 1, tokenizer)
    end = tokenizer.eos_token_id
    assert recorder.pieces([end]) == [tokenizer.eos_token]
    half = tokenizer.encode("é", add_special_tokens=False)[:1]
    # Half a character at the end is nothing yet; what follows it shows that it stays broken.
    assert recorder.pieces(half) == [""]
    assert recorder.pieces([*half, end]) == ["", tokenizer.eos_token]


def test_the_masses_are_those_that_the_shares_are_made_of() -> None:
    ledger = TokenLedger(WeightRange())
    pi, w = torch.tensor([[0.2, 0.9, 0.5]]), torch.tensor([[1.0, 1.4, 2.0]])
    gradient, mask = torch.tensor([[0.5, -0.7, 1.0]]), torch.tensor([[1, 1, 0]])
    ledger.add(pi, w, torch.ones(1, 3), mask, gradient.clone())
    totals = ledger.totals().tolist()
    after, before = masses(totals)
    assert after == pytest.approx(0.5 * 0.8 + 0.7 * 0.1)
    assert before == pytest.approx(0.5 * 0.8 + 0.7 * 0.1 / 1.4)
    assert describe(totals)["actor/tr_mass/0.1-0.25"] == pytest.approx(0.4 / after)
