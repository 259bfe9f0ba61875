#!/usr/bin/env bash
# Create .venv with the locked stack: scripts/setup.sh [cpu|cuda] [--test]
# Safe to interrupt and to run again; does nothing when all is in place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kind=cpu
with_tests=no
for argument in "$@"; do
  case "$argument" in
    cpu | cuda) kind=$argument ;;
    --test) with_tests=yes ;;
    *) echo "usage: scripts/setup.sh [cpu|cuda] [--test]" >&2; exit 2 ;;
  esac
done

# Byte code is compiled once below; without it every Ray process compiles verl, vLLM and torch anew.
unset PYTHONDONTWRITEBYTECODE

find_python() {
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "error: no Python 3.11 or 3.12 found; install one, or name it: PYTHON=/path/to/python3.11 scripts/setup.sh" >&2
  exit 2
}

# A stamp names what was installed, down to the lock's content, and is written last.
fingerprint=$(cat "requirements/$kind.txt" setup.py | sha256sum | cut -c1-16)
stamp=".venv/.tr-grpo-$kind-$fingerprint"
test_stamp=".venv/.tr-grpo-test-$(sha256sum < requirements/test.txt | cut -c1-16)"
if [ -f "$stamp" ] && { [ "$with_tests" = no ] || [ -f "$test_stamp" ]; }; then
  exit 0
fi

python=$(find_python)
if command -v uv > /dev/null; then
  uv=uv
else
  [ -x .tools/bin/pip ] || "$python" -m venv .tools
  [ -x .tools/bin/uv ] || .tools/bin/pip install --quiet uv
  uv=$PWD/.tools/bin/uv
fi

install() { "$uv" pip install --quiet --python .venv/bin/python --no-deps --compile-bytecode "$@"; }

if [ ! -f "$stamp" ]; then
  echo "Installing the $kind stack into .venv (about 7 GB with byte code, once; a few minutes) ..."
  # Another kind or another lock starts afresh, so that nothing stale stays behind.
  if compgen -G ".venv/.tr-grpo-*" > /dev/null; then "$uv" venv --quiet --clear --python "$python" .venv; fi
  [ -x .venv/bin/python ] || "$uv" venv --quiet --clear --python "$python" .venv
  if [ "$kind" = cuda ]; then
    # flash-attn is compiled against the torch that is installed, so torch comes first.
    grep -v '^flash-attn==' requirements/cuda.txt > .venv/cuda-without-flash-attn.txt
    install -r .venv/cuda-without-flash-attn.txt
    install setuptools wheel ninja packaging
    install --no-build-isolation "$(grep '^flash-attn==' requirements/cuda.txt)"
  else
    install -r "requirements/$kind.txt"
  fi
  install --editable .
  .venv/bin/python -m compileall -q recipe trainer reward data_prep search analysis
  touch "$stamp"
fi
if [ "$with_tests" = yes ] && [ ! -f "$test_stamp" ]; then
  install -r requirements/test.txt
  touch "$test_stamp"
fi
echo "Ready: .venv ($kind)"
