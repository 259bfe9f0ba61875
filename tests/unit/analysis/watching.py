"""What the tests of the live view and of following a run share."""

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from synthetic import Made, make_run

from tr_grpo.analysis.health import check
from tr_grpo.analysis.run_folder import Run
from tr_grpo.analysis.watch import last_sample, view


def plain(run: Run, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(view(run, check(run), last_sample(run), width))
    return out.getvalue()


def short(folder: Path, **changes: Any) -> Path:
    return make_run(folder, Made(**({"steps": 12, "updates": 1, "responses": 1, "algo": "tr_grpo"} | changes)))


def line(step: int, **data: float) -> str:
    return json.dumps({"step": step, "data": data}) + "\n"
