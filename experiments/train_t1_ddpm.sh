#!/usr/bin/env bash
# How the bundled model was trained and calibrated. IXI_FOLDER as experiments/ixi_brains.py describes it; MASK_FOLDER holds
# lesion masks in MNI space.
# Usage: bash experiments/train_t1_ddpm.sh IXI_FOLDER MASK_FOLDER WORK_FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
ixi=$1 masks=$2 work=$3
licence='licence="CC BY-SA 3.0 (as the IXI data it learnt from)"'

python "$here/ixi_brains.py" "$ixi" "$work/scans"
uad-train "$work/scans/train" "$work/scans/train-tight" --val "$work/scans/val" \
    --recipe t1-ddpm -o "$work/t1-ddpm.safetensors" --set "$licence"

# its thresholds, from the healthy validation scans; a finished run resumed takes over new defaults and trains no further
uad-heal "$work/scans/val"/*.nii.gz --model "$work/t1-ddpm.safetensors" -t 200 -t 300 -t 400 --samples 4 -o - |
    uad-score | uad-calibrate --rule percentile -o "$work/threshold-12.json"
uad-heal "$work/scans/val"/*.nii.gz --model "$work/t1-ddpm.safetensors" -t 300 -o - |
    uad-score | uad-calibrate --rule percentile -o "$work/threshold-1.json"
uad-train "$work/scans/train" "$work/scans/train-tight" --val "$work/scans/val" \
    --recipe t1-ddpm -o "$work/t1-ddpm.safetensors" --resume --set "$licence" \
    --set 'defaults.thresholds={"sss 300" = 0.132, "sss 200,300,400 x4" = 0.124}'

# what uad-postproc --threshold scanwise and voxelwise read, with the lesions they leave
{
    uad-simulate "$work/scans/val"/*.nii.gz -o - --kind blobs --tone dark
    uad-simulate "$work/scans/val"/*.nii.gz -o - --kind blobs --tone bright
    uad-simulate "$work/scans/val"/*.nii.gz -o - --kind masks --masks "$masks"
} | uad-heal --model "$work/t1-ddpm.safetensors" | uad-score > "$work/lesioned.nii"
uad-heal "$work/scans/val"/*.nii.gz --model "$work/t1-ddpm.safetensors" -o - | uad-score > "$work/healthy.nii"
for rule in scanwise voxelwise; do
    uad-calibrate "$work/healthy.nii" "$work/lesioned.nii" --rule "$rule" -o "$work/t1-ddpm.$rule.json"
done
