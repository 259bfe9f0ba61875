"""Exit statuses of ``tr-grpo train``, for schedulers (docs/architecture.md)."""

DONE = 0
FAILED = 1
BAD_INPUT = 2
STOPPED = 75
"""Asked to stop (SIGTERM, SIGUSR1), with a checkpoint; the same command goes on. EX_TEMPFAIL of sysexits.h."""
INTERRUPTED = 130
