"""The scripted search server."""

from collections.abc import Iterator

import pytest
from scripted import ScriptedServer, found


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer(answers=[found('"Ada"\nAda was born in London.')])
    yield scripted
    scripted.close()
