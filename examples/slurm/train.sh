#!/bin/sh
# One model on several nodes with SLURM and torchrun, a process for each GPU; killed or out of time, submit it again.
#     sbatch --nodes=2 --gres=gpu:4 examples/slurm/train.sh train/ val/ t1-ddpm mine.safetensors
# The batch of the recipe (or --batch) is shared out, so it is a multiple of the number of processes.
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
set -eu
train=$1 val=$2 recipe=$3 model=$4
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
resume=
[ ! -e "${model%.safetensors}.resume.safetensors" ] || resume=--resume
srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" --rdzv-backend c10d \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$head:29500" --no-python \
    uad-train "$train" --val "$val" --recipe "$recipe" -o "$model" $resume
