"""What ends a run is told in one line."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tr_grpo.trainer.cause import LONGEST, cause_of

TRACEBACK = """\x1b[36mray::TaskRunnerV1.run()\x1b[39m (pid=26029, ip=127.0.0.1, actor_id=67b0, repr=<verl.TaskRunnerV1 object at 0x7f>)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "verl/trainer/main_ppo.py", line 155, in run
    self.trainer.fit(self.agent_loop_manager)
"""  # noqa: E501
DEATH = """The actor died unexpectedly before finishing this task.
\tclass_name: create_colocated_worker_cls.<locals>.WorkerDict
\tactor_id: e12106cdec84db9a5940a6fc01000000
\tpid: 28450
\tname: GmCUo5WorkerDict_0:0
\tip: 10.0.0.7
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail:
Worker unexpectedly exits with a connection error code 2. End of file."""
TOLD = (
    "The actor died unexpectedly before finishing this task. WorkerDict (pid 28450, ip 10.0.0.7): The actor is dead "
    "because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits "
    "with a connection error code 2. End of file."
)


class ActorDiedError(Exception):
    """As Ray's."""


def raised_from(inner: Exception) -> Exception:
    outer = RuntimeError("outer")
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no such key"), "ValueError: no such key"),
        (ValueError(), "ValueError: no message"),
        (raised_from(OSError("No space left on device")), "OSError: No space left on device"),
        (
            RuntimeError(f"{TRACEBACK}RuntimeError: step 3 (train): nothing came for 20 s"),
            "RuntimeError: step 3 (train): nothing came for 20 s",
        ),
        (
            RuntimeError(
                f"{TRACEBACK}pydantic_core.ValidationError: 1 error for EngineArgs\n  dtype is wrong\n    more"
            ),
            "pydantic_core.ValidationError: 1 error for EngineArgs dtype is wrong",
        ),
        (RuntimeError(f"{TRACEBACK}ray.exceptions.ActorDiedError: {DEATH}"), f"ray.exceptions.ActorDiedError: {TOLD}"),
        (ActorDiedError(DEATH), f"ActorDiedError: {TOLD}"),
    ],
)
def test_the_cause_is_found_where_it_stands(error: Exception, told: str) -> None:
    assert cause_of(error) == told


@given(st.text(), st.sampled_from([ValueError, RuntimeError, ActorDiedError]))
def test_whatever_is_raised_is_one_line_of_a_bearable_length(text: str, kind: Callable[[str], Exception]) -> None:
    told = cause_of(kind(text))
    assert len(told.splitlines()) == 1
    assert 0 < len(told) <= LONGEST
