"""Sampled responses of an update, token by token: what the report's token view shows.

Rank 0 keeps a few of its responses at each update: the policy's probability of each token, the weight, the
advantage and the loss's gradient, exactly as the update used them. One parquet file an update, written under another
name and renamed, so that a file is whole or absent. The layout is that of docs/report.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tensordict import TensorDict
from torch import Tensor

FLOATS = ("log_prob", "old_log_prob", "rollout_log_prob", "advantage", "weight", "gradient")
SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("update", pa.int32()),
        ("uid", pa.string()),  # of the prompt: responses of one group share it
        ("session", pa.int32()),
        ("data_source", pa.string()),
        ("prompt", pa.string()),
        ("ground_truth", pa.string()),
        ("verdict", pa.string()),
        ("score", pa.float64()),  # the reward that the advantage was made from
        ("update_mass", pa.float64()),  # of all tokens of the update, all ranks
        ("update_mass_before", pa.float64()),
        ("ids", pa.list_(pa.int32())),
        ("tokens", pa.list_(pa.string())),
        ("mask", pa.list_(pa.bool_())),  # false: an observation, or a response left out of the loss
        *((name, pa.list_(pa.float32())) for name in FLOATS),
    ]
)


def file_name(step: int, update: int) -> str:
    """``step-000012-update-00.parquet``: updates are counted from 0 within a step."""
    return f"step-{step:06d}-update-{update:02d}.parquet"


@dataclass
class TokenRecorder:
    """Collects the chosen responses of one update after the other.

    Attributes:
        folder: where the files go.
        samples: responses an update; of those with a gradient where there are enough, whole groups first.
        every: steps from one that is recorded to the next; the first step is always.
        tokenizer: makes the ids readable.
    """

    folder: Path
    samples: int
    every: int
    tokenizer: Any
    _step: int = -1
    _update: int = 0
    _rows: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    _pieces: dict[int, str] = field(default_factory=dict)

    def begin(self, data: TensorDict) -> None:
        """Choose the responses of the mini-batch ``data`` (this rank's part), or none in a step that is left out."""
        step = int(_plain(data, "global_steps")[0])
        self._update = self._update + 1 if step == self._step else 0
        self._step, self._rows = step, {}
        if (step - 1) % self.every:
            return
        columns = data["advantages"].unbind(), data["response_mask"].unbind()
        moved = [bool((advantage * mask).any()) for advantage, mask in zip(*columns, strict=True)]
        # verl pads a batch with copies of a row, whose uid and session are then equal: one of them is enough.
        keys = sorted(zip([not m for m in moved], _plain(data, "uid"), _plain(data, "session_id"), strict=True))
        for _, uid, session in keys:
            if len(self._rows) < self.samples:
                self._rows.setdefault((str(uid), int(session)), {})

    def wanted(self, data: TensorDict) -> list[tuple[int, tuple[str, int]]]:
        """The rows of a micro-batch that were chosen and are not recorded yet, with their keys."""
        if not self._rows:
            return []
        keys = zip(_plain(data, "uid"), _plain(data, "session_id"), strict=True)
        found = ((row, (str(uid), int(session))) for row, (uid, session) in enumerate(keys))
        return [(row, key) for row, key in found if key in self._rows and not self._rows[key]]

    def add(self, row: int, key: tuple[str, int], data: TensorDict, values: dict[str, Tensor], mask: Tensor) -> None:
        """Record one response.

        Args:
            row: its place in the micro-batch.
            key: its uid and session.
            data: the micro-batch.
            values: of each token, by the names of ``FLOATS``, each (batch, response_length).
            mask: true where the token counts, same shape.
        """
        ids = data["responses"][row].tolist()
        info = _plain(data, "extra_fields")[row].get("reward_extra_info", {})
        verdicts = [name.removeprefix("verdict_") for name, on in info.items() if name.startswith("verdict_") and on]
        # verl keeps the reward at the response's last token, and the shift of an overlong one with it.
        rewards = data["rm_scores"][row] if "rm_scores" in data.keys() else None  # noqa: SIM118 (a TensorDict)
        reward_model = _plain(data, "reward_model")[row]
        self._rows[key] = {
            "step": self._step,
            "update": self._update,
            "uid": key[0],
            "session": key[1],
            "data_source": str(_plain(data, "data_source")[row]),
            "prompt": self.tokenizer.decode(data["prompts"][row].tolist()),
            "ground_truth": str(reward_model.get("ground_truth", "")),
            "verdict": verdicts[0] if verdicts else None,
            "score": None if rewards is None else float(rewards.sum()),
            "ids": ids,
            "tokens": self.pieces(ids),
            "mask": mask[row, : len(ids)].bool().tolist(),
            **{name: value[row, : len(ids)].float().tolist() for name, value in values.items()},
        }

    def write(self, mass: float, mass_before: float) -> Path | None:
        """Write what was recorded of this update, with the whole update's mass; returns the file, if any."""
        rows = [row | {"update_mass": mass, "update_mass_before": mass_before} for row in self._rows.values() if row]
        self._rows = {}
        if not rows:
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / file_name(self._step, self._update)
        temporary = path.with_suffix(".part")
        columns = {name: [row.get(name) for row in rows] for name in SCHEMA.names}
        pq.write_table(pa.table(columns, schema=SCHEMA), temporary, compression="zstd")
        return temporary.replace(path)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token; a character of several tokens stands at the last of them, and "" at the others."""
        texts: list[str] = []
        for place, token in enumerate(ids):
            text = self._piece(token)
            if "\ufffd" in text:  # a part of a character: it is whole once the tokens before it are decoded with it
                start = place
                while start > 0 and place - start < 3 and texts[start - 1] == "":
                    start -= 1
                together = self.tokenizer.decode(ids[start : place + 1], skip_special_tokens=False)
                text = "" if together.endswith("\ufffd") else together
            texts.append(text)
        return texts

    def _piece(self, token: int) -> str:
        if token not in self._pieces:
            raw = self.tokenizer.convert_ids_to_tokens(token)
            text = self.tokenizer.decode([token], skip_special_tokens=False)
            # Decoders of the SentencePiece kind drop the space of a first token.
            self._pieces[token] = f" {text}" if str(raw).startswith("▁") and not text.startswith(" ") else text
        return self._pieces[token]


def _plain(data: TensorDict, key: str) -> list[Any]:
    """A column of plain values, one for each row."""
    return list(data[key])


def rollout_log_probs(data: TensorDict, like: Tensor) -> Tensor:
    """What vLLM said of each token, in the shape of ``like`` (batch, response_length); NaN where it was not asked."""
    if "rollout_log_probs" not in data.keys():  # noqa: SIM118 (a TensorDict)
        return torch.full_like(like, torch.nan)
    values = data["rollout_log_probs"]
    return values.to_padded_tensor(0, like.shape) if values.is_nested else values
