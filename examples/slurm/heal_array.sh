#!/usr/bin/env bash
# A cohort on SLURM without an engine: every task of an array takes its share of a list of raw scans, one path a line.
#     sbatch --array=0-99 examples/slurm/heal_array.sh scans.txt results/
# Submitted again, it does what is missing. A scan that cannot be prepared is told and stops no other, but the task has
# failed then. Two scans of one name would take each other's place: give them different ones.
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=04:00:00
set -euo pipefail
list=$1 out=$2
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-2}"
part=${SLURM_ARRAY_TASK_ID:-0} parts=${SLURM_ARRAY_TASK_COUNT:-1}
mkdir -p "$out/detections"

awk -v part="$part" -v parts="$parts" 'NF && (n++ % parts) == part' "$list" | while IFS= read -r scan; do
    name=${scan##*/} && name=${name%.gz} && name=${name%.nii}
    [ -e "$out/detections/${name}_detection.nii.gz" ] || realpath "$scan"
done > "$out/missing.$part.txt"
[ -s "$out/missing.$part.txt" ] || { rm "$out/missing.$part.txt" && exit 0; }

# One process of each command for all of them: the model is loaded once, and what is found is written scan by scan.
uad-preprocess "$out/missing.$part.txt" -o - --quiet | uad-heal --quiet | uad-score |
    uad-postproc --native -o "$out/detections/" --force --quiet
rm "$out/missing.$part.txt"
