#!/usr/bin/env bash
#SBATCH --job-name=tr-grpo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --output=slurm-%j.log
#SBATCH --open-mode=append
#SBATCH --export=ALL
#SBATCH --requeue
#SBATCH --signal=B:USR1@600
# To copy and edit: sbatch [--nodes=N ...] slurm.sh algo=tr_grpo task=... llm=... cluster=... [any override]
# `tr-grpo launch slurm` writes the same script for one run, and checks that run first (docs/multi_node.md).
program=${TR_GRPO:-tr-grpo}
logs=$SLURM_SUBMIT_DIR/logs-$SLURM_JOB_ID
options=(--wait=600 --logs="$logs")
words=("$@")

# From here on the script knows nothing of the run: nodes, devices and hosts are the allocation's.
set -u
mkdir -p "$logs"
pid_file=$logs/$SLURM_JOB_ID.pid
TR_GRPO_HOSTS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd,)
# A port a job, so that two jobs can share a node. Ray's token is made here and stands in no file.
TR_GRPO_PORT=$((20000 + SLURM_JOB_ID % 10000))
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export TR_GRPO_HOSTS TR_GRPO_PORT RAY_AUTH_TOKEN RAY_AUTH_MODE=token

# SIGUSR1 (the time limit is near, or a preemption) saves a checkpoint and queues the job again; SIGTERM (scancel
# --batch --signal=TERM) saves one and ends the job. Only the head's supervisor is signalled, never Ray.
asked=none
# shellcheck disable=SC2317,SC2329  # the traps call it
ask() {
  asked=$1
  echo "launch: SIG$2 is passed on; the step under way will be finished and a checkpoint saved"
  kill "-$2" "$(cat "$pid_file")" || kill -TERM "$step"
}
trap 'ask requeue USR1' USR1
trap 'ask stop TERM' TERM

srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpu-bind=none --label \
  "$program" launch node --pid-file="$pid_file" "${options[@]}" -- "${words[@]}" &
step=$!
while true; do
  wait "$step"
  status=$?
  # wait also returns when a signal came.
  kill -0 "$step" 2> /dev/null || break
done
if [ "$status" -eq 75 ] && [ "$asked" != stop ]; then
  echo "launch: queued again; it resumes from the last checkpoint"
  # Slurm ends this script; an end of its own could be taken for the end of the job that was queued again.
  scontrol requeue "$SLURM_JOB_ID" && sleep 300
fi
exit "$status"
