#!/usr/bin/env bash
# A tiny model learns to search, on a CPU, with GRPO and with TR-GRPO: examples/search_qa.sh [Hydra overrides]
# Everything goes to outputs/search_qa (or $WORK); what is there already is not done again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONDONTWRITEBYTECODE
scripts/setup.sh cpu
work=${WORK:-outputs/search_qa}
tr_grpo=.venv/bin/tr-grpo

$tr_grpo prep facts --out "$work/data/facts"
[ -e "$work/models/tiny_facts" ] || $tr_grpo prep tiny-model --task facts --out "$work/models/tiny_facts"
$tr_grpo index build --corpus "$work/data/facts/corpus.jsonl" --out "$work/indexes/facts"

$tr_grpo serve-search --index "$work/indexes/facts" --port 0 >"$work/server.log" 2>&1 &
server=$!
trap 'kill $server' EXIT
until url=$(sed -n 's/^serving .* on //p' "$work/server.log") && [ -n "$url" ]; do
  kill -0 $server || { cat "$work/server.log" >&2; exit 1; }
  sleep 0.2
done

for algo in grpo tr_grpo; do
  if [ ! -e "$work/outputs/$algo/done" ]; then
    echo "$algo: log in $work/$algo.log"
    $tr_grpo train algo=$algo task=facts llm=tiny_facts cluster=cpu search.url="$url" paths.data="$work/data" \
      paths.models="$work/models" trainer.default_local_dir="$work/outputs/$algo" "$@" >"$work/$algo.log" 2>&1 ||
      { tail -n 1 "$work/$algo.log" >&2; exit 1; }
    touch "$work/outputs/$algo/done"
  fi
done
.venv/bin/python -m tr_grpo.analysis.search_lesson "$work/outputs/grpo" "$work/outputs/tr_grpo"
