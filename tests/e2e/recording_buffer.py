"""A replay buffer for the tests: the project's own, which also writes down the trajectories that it hands over."""

import json
import os
from pathlib import Path
from typing import Any

import transfer_queue as tq
from masked_loss import DUMP

from tr_grpo.reward.trajectory import FIELD
from tr_grpo.trainer.replay_buffer import AccountingReplayBuffer

FIELDS = ["uid", "prompts", "responses", "response_mask", "rm_scores", "extra_fields"]


class RecordingReplayBuffer(AccountingReplayBuffer):
    """Writes one line a training response to ``trajectories.jsonl``."""

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, float]]:
        batch, metrics = super().sample(global_steps, partition_id, batch_size)
        if partition_id == "train":
            rows = tq.kv_batch_get(keys=batch.keys, partition_id=partition_id, select_fields=FIELDS)
            with (Path(os.environ[DUMP]) / "trajectories.jsonl").open("a", encoding="utf-8") as file:
                for number in range(len(batch.keys)):
                    extra = rows["extra_fields"][number]
                    extra = getattr(extra, "data", extra)
                    uid = rows["uid"][number]
                    record = {
                        "step": global_steps,
                        "uid": str(getattr(uid, "data", uid)),
                        **{name: rows[name][number].tolist() for name in FIELDS[1:5]},
                        "trajectory": extra[FIELD],
                    }
                    file.write(json.dumps(record) + "\n")
        return batch, metrics


def recording_buffer(**kwargs: Any) -> RecordingReplayBuffer:
    """What ``trainer.v1.sampler.custom_sampler`` names."""
    return RecordingReplayBuffer(**kwargs)
