#!/bin/sh
# A cohort on SLURM without an engine: every task of an array takes its share of a list of raw scans, one path a line.
#     sbatch --array=0-99 examples/slurm/heal_array.sh scans.txt results/
# Submitted again, it does what is missing.
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=04:00:00
set -eu
list=$1 out=$2
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-2}"
part=${SLURM_ARRAY_TASK_ID:-0} parts=${SLURM_ARRAY_TASK_COUNT:-1}
mkdir -p "$out/prepared" "$out/detections"

awk -v part="$part" -v parts="$parts" 'NF && (n++ % parts) == part' "$list" | while IFS= read -r scan; do
    name=$(basename "$scan" .nii.gz)
    [ -e "$out/detections/$name.nii.gz" ] || realpath "$scan"
done > "$out/missing.$part.txt"
[ -s "$out/missing.$part.txt" ] || { rm "$out/missing.$part.txt" && exit 0; }

# One process of uad-heal for all of them: the model is loaded once.
uad-preprocess "$out/missing.$part.txt" -o "$out/prepared/" --quiet
while IFS= read -r scan; do
    printf '%s\0' "$out/prepared/$(basename "$scan" .nii.gz)_preprocessed.nii.gz"
done < "$out/missing.$part.txt" | xargs -0 uad-heal -o "$out/healed.$part/" --force --quiet
while IFS= read -r scan; do
    name=$(basename "$scan" .nii.gz)
    uad-score "$out/prepared/${name}_preprocessed.nii.gz" "$out/healed.$part/${name}_healed.nii.gz" -o - |
        uad-postproc --native -o "$out/detections/$name.nii.gz" --force --quiet
done < "$out/missing.$part.txt"
rm -r "$out/healed.$part" "$out/missing.$part.txt"
