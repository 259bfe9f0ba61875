#!/usr/bin/env bash
# One node under a scheduler that has no launcher here (PBS, LSF, a cloud's own): run it once on each node, with
#   TR_GRPO_HOSTS   all nodes by name, the head first, the same everywhere: node1,node2
#   TR_GRPO_RANK    this node's place in that list: 0, 1, ...
#   RAY_AUTH_TOKEN  one random text, the same everywhere: export RAY_AUTH_TOKEN=$(openssl rand -hex 32)
# It starts Ray here and, on the head, the training once all nodes have joined; it stops all it started. SIGUSR1 or
# SIGTERM to the head's saves a checkpoint and ends with status 75: the same command goes on from there.
#   scripts/launch/node.sh algo=tr_grpo task=... llm=... cluster=... [any override]
set -euo pipefail
: "${TR_GRPO_HOSTS:?all nodes by name, the head first}" "${TR_GRPO_RANK:?place of this node among them}"
export TR_GRPO_LOGS=${TR_GRPO_LOGS:-$PWD/logs}
exec "${TR_GRPO:-tr-grpo}" launch node -- "$@"
