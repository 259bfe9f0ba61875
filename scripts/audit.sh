#!/usr/bin/env bash
# Dependencies: pins and a bill of materials, offline; with --online, known weaknesses too: scripts/audit.sh [--online]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
.venv/bin/python scripts/audit.py
[ "${1:-}" = --online ] || exit 0
tools=.tools/audit
if [ ! -x "$tools/bin/pip-audit" ]; then
  .venv/bin/python -m venv "$tools"
  "$tools/bin/pip" install --quiet pip-audit==2.10.1
fi
# --strict: a package of which the database knows nothing is a failure, not a silence.
for lock in cpu cuda test; do
  "$tools/bin/pip-audit" --strict --disable-pip --no-deps --progress-spinner off --requirement "requirements/$lock.txt"
done
