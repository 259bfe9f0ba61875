#!/usr/bin/env bash
# From a fresh clone to GRPO and TR-GRPO trained on a CPU, in about ten minutes: scripts/quickstart.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONDONTWRITEBYTECODE
scripts/setup.sh cpu
exec .venv/bin/python -m tr_grpo.analysis.quickstart "$@"
