#!/usr/bin/env bash
# Tests on the real stack, most of them faults, that are too long for every test run: scripts/drills.sh [pytest arguments]
# Three quarters of an hour on two cores; as root, for a disk is mounted and the machine split in two. See docs/faults.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONDONTWRITEBYTECODE
scripts/setup.sh cpu --test
exec .venv/bin/python -m pytest tests/e2e -m drill --timeout 1500 -v "$@"
