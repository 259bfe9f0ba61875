"""One search of a trajectory, for both agent loops: ask the server, count the outcome, say it in words."""

from __future__ import annotations

from tr_grpo.search.client import SearchClient, SearchError, SearchRefused, passages
from tr_grpo.search.observation import FAILED, passages_text
from tr_grpo.search.recorder import Recorder


async def search_text(client: SearchClient, query: str, record: Recorder) -> str:
    """What the policy reads of the search for ``query``; counted in ``record`` as a search, failed or not.

    A failed search is said to be one, in the observation and in the counts, and is never an empty result.
    """
    record.searches += 1
    try:
        text = passages_text(passages(await client.search(query)))
    except SearchError as error:
        record.failed += 1
        record.fault = str(error)
        text = FAILED
    except SearchRefused as error:
        record.invalid += 1
        text = f"Search refused: {error}"
    record.observations.append(text)
    return text
