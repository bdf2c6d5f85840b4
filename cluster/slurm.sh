#!/usr/bin/env bash
# One run of dedupe on Slurm: a Ray cluster for as long as the job lasts, started by
# `ray symmetric-run` on every node of the allocation. Corpus, output and work directory are on a
# file system that all nodes share, or URIs of an object store.
#
#   CORPUS=/shared/corpus OUT=/shared/out WORK=/shared/work sbatch cluster/slurm.sh
#
# The environment of VENV must be the same on all nodes, e.g. on the shared file system; see
# README.md, section 4. A job that is requeued goes on where it was.

#SBATCH --job-name=dedupe
#SBATCH --output=dedupe-%j.log
#SBATCH --open-mode=append
#SBATCH --nodes=5
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --mem=120G
#SBATCH --time=12:00:00
# Alone on its nodes: Ray's ports, and `ray stop` at the end, which stops all Ray of the user.
#SBATCH --exclusive
# Back into the queue when preempted or when a node fails at the start.
#SBATCH --requeue
# A node that fails later does not end the job: its tasks are done again elsewhere.
#SBATCH --no-kill
# Two minutes before the time limit, to this script alone.
#SBATCH --signal=B:USR1@120

set -euo pipefail

: "${CORPUS:?set CORPUS, OUT and WORK}" "${OUT:?set OUT}" "${WORK:?set WORK}"
WORKER_CPUS=${WORKER_CPUS:-4}
WORKER_MEMORY=${WORKER_MEMORY:-12GB}
VENV=${VENV:-$HOME/dedupe-env}

# shellcheck source=/dev/null
. "$VENV/bin/activate"

# The address of this node, the first of the allocation, where the driver runs. By number: a name
# may resolve to a loopback address on the node itself. Set HEAD_IP to choose another interface.
HEAD_IP=${HEAD_IP:-$(hostname -I | awk '{print $1}')}
export HEAD_ADDRESS="$HEAD_IP:6379"

# A token of this job, in a file that only its user can read, on a file system all nodes share.
umask 077
private=$(mktemp -d "$HOME/.dedupe-job.XXXXXX")
trap 'rm -rf "$private"' EXIT
python -c 'import secrets; print(secrets.token_hex(32))' > "$private/token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$private/token"

# Local to each node and short: the names of Ray's sockets begin with it.
export RAY_TMPDIR="/tmp/dedupe-$SLURM_JOB_ID"
unset RAY_ADDRESS # of another cluster, from the shell that submitted this
export RAY_USAGE_STATS_ENABLED=0
export NUMBA_NUM_THREADS=1
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
# Alike on all nodes: finds a node behind a dead link in under a minute instead of seven.
export RAY_grpc_client_keepalive_time_ms=20000
export RAY_grpc_client_keepalive_timeout_ms=20000

export CORPUS OUT WORK WORKER_CPUS WORKER_MEMORY STATUS="$private/status"

# What the first node runs when Ray is up. Leaves its exit code where the end of this script finds
# it: with several nodes, symmetric-run of Ray 2.60 ends with 1 also where its command ended with 0.
# shellcheck disable=SC2329 # symmetric-run calls it
run_dedupe() {
    local status=0
    dedupe run "$CORPUS" --output "$OUT" --work-dir "$WORK" \
        --engine ray --address "$HEAD_ADDRESS" \
        --worker-cpus "$WORKER_CPUS" --memory "$WORKER_MEMORY" || status=$?
    echo "$status" > "$STATUS"
    return "$status"
}

# What every node runs. The first has no CPUs for workers: it is the driver's.
# shellcheck disable=SC2329 # srun calls it
run_node() {
    mkdir -p "$RAY_TMPDIR"
    trap 'rm -rf "$RAY_TMPDIR"' EXIT
    local cpus=$SLURM_CPUS_PER_TASK
    if ((SLURM_NODEID == 0 && SLURM_JOB_NUM_NODES > 1)); then
        cpus=0
    fi
    # Of the job's memory, in MB of 2^20, 8 GiB stay for the system and Ray.
    ray symmetric-run --address "$HEAD_ADDRESS" --min-nodes "$SLURM_JOB_NUM_NODES" \
        --num-cpus="$cpus" \
        --memory="$(((SLURM_MEM_PER_NODE - 8192) * 1048576))" \
        --object-store-memory=1000000000 \
        -- bash -c run_dedupe
}
export -f run_dedupe run_node

trap 'scontrol requeue "$SLURM_JOB_ID"' USR1
srun --ntasks-per-node=1 --no-kill --kill-on-bad-exit=1 bash -euc run_node &
step=$!
status=0
while kill -0 "$step" 2> /dev/null; do # a signal ends `wait`, not the step
    status=0
    wait "$step" || status=$?
done
if [[ -s $STATUS ]]; then
    status=$(< "$STATUS")
fi
exit "$status"
