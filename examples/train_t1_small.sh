#!/usr/bin/env bash
# How the bundled model was trained. IXI_FOLDER as examples/ixi_brains.py describes it.
# Usage: bash examples/train_t1_small.sh IXI_FOLDER WORK_FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
ixi=$1 work=$2
licence='licence="CC BY-SA 3.0 (as the IXI data it learnt from)"'

python "$here/ixi_brains.py" "$ixi" "$work/scans"
uad-train "$work/scans/train" "$work/scans/train-tight" --val "$work/scans/val" \
    --recipe t1-small -o "$work/t1-small.safetensors" --set "$licence"

# its thresholds, from the healthy validation scans; a finished run resumed takes over new defaults and trains no further
python "$here/healthy_threshold.py" "$work/scans/val" "$work/threshold-12.json" --model "$work/t1-small.safetensors" -t 200 -t 300 -t 400 --samples 4
python "$here/healthy_threshold.py" "$work/scans/val" "$work/threshold-1.json" --model "$work/t1-small.safetensors" -t 300
uad-train "$work/scans/train" "$work/scans/train-tight" --val "$work/scans/val" \
    --recipe t1-small -o "$work/t1-small.safetensors" --resume --set "$licence" \
    --set 'defaults.thresholds={"sss 300" = 0.132, "sss 200,300,400 x4" = 0.124}'
