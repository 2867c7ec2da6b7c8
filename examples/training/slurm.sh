#!/usr/bin/env bash
# Train on nodes of a SLURM cluster: `sbatch slurm.sh train train.yaml`. See docs/train-distributed.md.
#SBATCH --job-name=tasb
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
# One task on each node: torchrun, which starts a process for each GPU. Two minutes before the time limit, SIGTERM makes
# the training save its last step. Then submit the same line again; after a node failed, SLURM itself does (--requeue).
set -euo pipefail

PROCESSES=${PROCESSES:-${SLURM_GPUS_ON_NODE:-1}}
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*} # not `| head -n 1`: a pipe that is closed early ends the script
port=$((20000 + SLURM_JOB_ID % 10000)) # another one for each job, as jobs may share a node
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((SLURM_CPUS_PER_TASK > PROCESSES ? SLURM_CPUS_PER_TASK / PROCESSES : 1))}
srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "$PROCESSES" --max-restarts "${RESTARTS:-3}" \
  --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$head:$port" -m pyserini_tasb "$@"
