#!/usr/bin/env bash
# Mutation testing of recipe/: do the tests notice each small change of the code? scripts/mutation_check.sh [module ...]
# About six minutes on one free core; not part of scripts/test.sh. docs/mutation.md has the last result.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh cpu --test
# Beside the locked environment, not in it: only this check needs them.
tools=.tools/mutation-mutmut-3.3.1-libcst-1.9.0
if [ ! -d "$tools" ]; then
  uv=$(command -v uv || echo .tools/bin/uv)
  "$uv" pip install --quiet --python .venv/bin/python --no-deps --target "$tools.part" mutmut==3.3.1 libcst==1.9.0
  mv "$tools.part" "$tools"
fi
OMP_NUM_THREADS=1 PYTHONPATH=$PWD/$tools exec nice .venv/bin/python scripts/mutation_check.py "$@"
