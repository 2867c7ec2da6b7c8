#!/usr/bin/env bash
# Train with several processes, on one node or on several: docs/train-distributed.md.
#
#   bash torchrun.sh train train.yaml                                    on one node, a process for each GPU
#   PROCESSES=2 bash torchrun.sh train train.yaml --set device=cpu       on one node, two processes on CPUs
#   NODES=2 HEAD=node1:29500 bash torchrun.sh train train.yaml           the same line on both nodes
#
# The words after torchrun.sh are those of `tasb`. RESTARTS: how often torchrun starts again after a process died.
set -euo pipefail

PROCESSES=${PROCESSES:-gpu}
RESTARTS=${RESTARTS:-3}
if [[ $PROCESSES =~ ^[0-9]+$ ]]; then # torchrun's own default is 1 thread, too few for a CPU
  cores=$(nproc)
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > PROCESSES ? cores / PROCESSES : 1))}
fi
if [[ ${NODES:-1} == 1 ]]; then
  where=(--standalone)
else
  where=(--nnodes "$NODES" --rdzv-backend c10d --rdzv-id tasb --rdzv-endpoint "$HEAD")
fi
exec torchrun "${where[@]}" --nproc-per-node "$PROCESSES" --max-restarts "$RESTARTS" -m pyserini_tasb "$@"
