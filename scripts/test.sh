#!/usr/bin/env bash
# Set up, then lint, unit tests and end-to-end tests: scripts/test.sh [unit|e2e]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONDONTWRITEBYTECODE
part=${1:-all}
scripts/setup.sh cpu --test
if [ "$part" != e2e ]; then
  scripts/lint.sh
  # One thread a process: the workers already take every core.
  OMP_NUM_THREADS=1 .venv/bin/python -m pytest tests/unit --numprocesses auto --timeout 120
fi
if [ "$part" != unit ]; then
  # The real stack: verl, Ray, FSDP and vLLM. Each test is time-boxed and stops what it started.
  .venv/bin/python -m pytest tests/e2e --timeout 1200 -v
fi
