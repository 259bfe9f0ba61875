#!/usr/bin/env bash
# Train: scripts/train.sh algo=tr_grpo task=knights_knaves llm=tiny cluster=cpu [any Hydra override]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
unset PYTHONDONTWRITEBYTECODE
exec "$root/.venv/bin/tr-grpo" train "$@"
