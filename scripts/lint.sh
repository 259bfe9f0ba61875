#!/usr/bin/env bash
# Style (ruff), types (mypy) and shell (shellcheck).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/shellcheck scripts/*.sh scripts/*/*.sh examples/*.sh .ci/run
# The folders are subpackages of tr_grpo only once installed; mypy gets the same layout as links.
links=.venv/typecheck
mkdir -p "$links/tr_grpo"
for folder in recipe trainer reward data_prep search analysis; do ln -sfn "$PWD/$folder" "$links/tr_grpo/$folder"; done
MYPYPATH=$links .venv/bin/mypy --config-file pyproject.toml -p tr_grpo
