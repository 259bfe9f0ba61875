"""A server with workers, for the tests: settings as JSON in the first argument."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search_serving import PASSAGES, OverlapRetriever

from tr_grpo.data_prep.errors import InputError
from tr_grpo.search.passage import Hit
from tr_grpo.search.server.limits import Limits
from tr_grpo.search.server.source import Opened
from tr_grpo.search.server.supervisor import WorkerApp, listen, run_server


class SlowRetriever(OverlapRetriever):
    """Takes its time for the word ``slow``, and does not come back from ``stuck``."""

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        time.sleep(
            max((1.0 if "slow" in query else 600.0 if "stuck" in query else 0.0 for query in queries), default=0.0)
        )
        return super().search(queries, top_k)


@dataclass(frozen=True)
class ProgramSource:
    """Opens the retriever above, or does not."""

    fault: str = ""

    def open(self) -> Opened:
        if self.fault:
            raise InputError(self.fault)

        async def facts() -> dict[str, Any]:
            return {"retriever": "overlap", "passages": len(PASSAGES)}

        return Opened(SlowRetriever(), facts)


def main() -> None:
    settings = json.loads(sys.argv[1])
    workers, fault = settings.pop("workers", 1), settings.pop("fault", "")
    with listen("127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        app = WorkerApp(ProgramSource(fault), Limits(**settings), None)
        started = run_server(app, listening, workers, lambda: print(f"serving on {url}/retrieve", flush=True))
    sys.exit(0 if started else 2)


if __name__ == "__main__":
    main()
