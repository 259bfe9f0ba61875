"""What a run folder costs a step: a run's own recorded responses are recorded again, beside the run's own step time.

    python benchmarks/recording.py RUN [RUN ...]

Goal: at most 1 % of a step. Rank 0 alone records; everything else that is written is one line of metrics a step.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tensordict import NonTensorStack, TensorDict
from transformers import AutoTokenizer

from tr_grpo.analysis.run_folder import Response, Run, open_run
from tr_grpo.recipe.token_record import FLOATS, TokenRecorder

SOURCES = {"advantage": "advantages", "old_log_prob": "old_log_probs"}
GOAL = 0.01


def mini_batch(rows: list[Response]) -> TensorDict:
    """The recorded responses in the form in which the engine gets them."""

    def jagged(columns: list[torch.Tensor]) -> torch.Tensor:
        return torch.nested.as_nested_tensor(columns, layout=torch.jagged)

    fields = {
        "responses": jagged([torch.tensor(row.ids) for row in rows]),
        "prompts": jagged([torch.tensor(row.ids) for row in rows]),
        "advantages": jagged([torch.tensor(row.advantage) for row in rows]),
        "response_mask": jagged([torch.tensor(row.mask).long() for row in rows]),
        "rm_scores": jagged([torch.tensor(row.advantage) for row in rows]),
    }
    data = TensorDict(fields, batch_size=len(rows))
    plain: dict[str, list[Any]] = {
        "uid": [row.uid for row in rows],
        "session_id": [row.session for row in rows],
        "global_steps": [row.step for row in rows],
        "data_source": [row.data_source for row in rows],
        "reward_model": [{"ground_truth": row.ground_truth} for row in rows],
        "extra_fields": [{"reward_extra_info": {f"verdict_{row.verdict}": 1.0}} for row in rows],
    }
    for name, values in plain.items():
        data[name] = NonTensorStack(*values)
    return data


def seconds_an_update(run: Run, tokenizer: Any, rounds: int = 3) -> list[float]:
    """Seconds that each recorded update takes to record, the best of ``rounds``."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        recorder = TokenRecorder(Path(folder), 64, 1, tokenizer)
        for place in run.rollouts:
            rows = run.responses(*place)
            data = mini_batch(rows)
            padded = {
                name: torch.nn.utils.rnn.pad_sequence([torch.tensor(getattr(r, name)) for r in rows], batch_first=True)
                for name in FLOATS
            }
            mask = data["response_mask"].to_padded_tensor(0)
            times = []
            for _ in range(rounds):
                started = time.perf_counter()
                recorder.begin(data)
                for row, key in recorder.wanted(data):
                    recorder.add(row, key, data, padded, mask)
                recorder.write(1.0, 1.0)
                times.append(time.perf_counter() - started)
            found.append(min(times))
    return found


def main(folders: list[Path]) -> None:
    """One row a run."""
    table = Table(
        "run", "responses an update", "tokens a response", "ms an update", "ms a step", "step s", "share", "kB a step",
        title=f"recording, goal at most {GOAL:.0%} of a step",
    )  # fmt: skip
    for folder in folders:
        run = open_run(folder)
        model = run.value("actor_rollout_ref.model.path")
        times = seconds_an_update(run, AutoTokenizer.from_pretrained(model))
        rows = [row for place in run.rollouts for row in run.responses(*place)]
        steps = {step for step, _ in run.rollouts}
        step_seconds = statistics.median(m["timing_s/step"] for m in run.metrics.values() if "timing_s/step" in m)
        a_step = sum(times) / len(steps)
        size = sum(path.stat().st_size for path in run.rollouts.values()) / len(steps)
        table.add_row(
            run.name,
            f"{len(rows) / len(run.rollouts):.1f}",
            f"{statistics.mean(len(row.ids) for row in rows):.0f}",
            f"{1000 * statistics.mean(times):.2f}",
            f"{1000 * a_step:.2f}",
            f"{step_seconds:.2f}",
            f"{a_step / step_seconds:.2%}",
            f"{size / 1000:.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main([Path(word) for word in sys.argv[1:]])
