#!/usr/bin/env bash
# A folder of raw scans: every step keeps its files, the model is loaded once.
# Usage: bash examples/cohort.sh RAW_FOLDER OUT_FOLDER
set -euo pipefail
raw=$1 out=$2

uad-preprocess "$raw" -o "$out/preprocessed/"
uad-heal "$out"/preprocessed/*.nii.gz -o "$out/healed/"
for scan in "$out"/preprocessed/*.nii.gz; do
    name=$(basename "$scan" _preprocessed.nii.gz)
    uad-score "$scan" "$out/healed/${name}_healed.nii.gz" -o "$out/score/"
done
uad-postproc "$out"/score/*.nii.gz --native -o "$out/detection/" --json > "$out/detections.json"
