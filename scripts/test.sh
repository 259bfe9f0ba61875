#!/usr/bin/env bash
# Set up, then lint, unit tests and end-to-end tests: scripts/test.sh [unit|e2e]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONDONTWRITEBYTECODE
part=${1:-all}
scripts/setup.sh cpu --test

# Debian's packages, where they may be installed.
install() {
  local as_root=()
  if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi
  command -v apt-get > /dev/null || return 1
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@" > /dev/null 2>&1 && return
  "${as_root[@]}" apt-get update -qq > /dev/null 2>&1 || return 1
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@" > /dev/null 2>&1
}
# The report's pages are tested in a real browser: any Chromium that is there.
have_chromium() {
  [ -n "${CHROMIUM:-}" ] || command -v chromium-headless-shell chromium chromium-browser google-chrome > /dev/null
}
if [ "$part" != e2e ] && ! have_chromium && ! install chromium-headless-shell; then
  echo "No Chromium, and apt-get cannot install one: the tests of the report's pages will be skipped (name one: CHROMIUM=/path)" >&2
fi
# Launching is tested with a real Slurm and a real sshd.
have_cluster() {
  local name
  for name in slurmctld slurmd munged sbatch sshd; do PATH=$PATH:/usr/sbin command -v "$name" > /dev/null || return 1; done
}
if [ "$part" != unit ] && ! have_cluster && ! install slurmctld slurmd slurm-client munge openssh-server; then
  echo "No Slurm or sshd, and apt-get cannot install them: the tests that launch with them will be skipped" >&2
fi
if [ "$part" != e2e ]; then
  scripts/lint.sh
  # One thread a process: the workers already take every core.
  OMP_NUM_THREADS=1 .venv/bin/python -m pytest tests/unit tests/browser --numprocesses auto --timeout 120
fi
if [ "$part" != unit ]; then
  # The real stack: verl, Ray, FSDP and vLLM. Each test is time-boxed and stops what it started.
  .venv/bin/python -m pytest tests/e2e -m "not drill" --timeout 1200 --durations 15 -v
fi
