#!/usr/bin/env bash
# How the bundled models of restoration are trained, for as long as you let it; the same command goes on where it was stopped or killed.
# Usage: bash experiments/train_any_small.sh [--finish | --t1 | --flair] SCANS MASKS LABELS OUT
# SCANS: what experiments/ixi_brains.py made; MASKS: a folder of lesion masks, of which shapes are learnt (hold out those of your tests);
# LABELS: a folder of label maps, ID_dseg.nii.gz, such as the one that SCANS were made from.
# --finish: let the rate of the weights reached so far fall, and write OUT/any-small-finished.safetensors, a candidate.
# --t1: go on from that with T1 alone, and write OUT/t1-small.safetensors, a candidate for T1 scans of the same scanner.
# --flair: the same for FLAIR, as drawn from T1: OUT/flair-small.safetensors.
# It runs at low priority, from a copy of the code and an environment of its own in OUT.
set -euo pipefail
stage=level
case "$1" in --finish | --t1 | --flair) stage=${1#--}; shift ;; esac
house=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$4"
scans=$(realpath "$1") masks=$(realpath "$2") labels=$(realpath "$3") out=$(realpath "$4")

if [ ! -e "$out/venv/ready" ]; then
    git clone --quiet "$house" "$out/code"
    python3 -m venv "$out/venv"
    "$out/venv/bin/pip" install --quiet -c "$out/code/constraints.txt" "$out/code"
    touch "$out/venv/ready"
fi
given=("$scans/train" "$scans/train-tight" --val "$scans/val" --recipe any-small --workers 1 --quiet
    --set corruption.anomalies.shapes.mask=0.15 --set "corruption.masks=[\"$masks\"]" --set "corruption.labels=[\"$labels\"]"
    --set 'licence="CC BY-SA 3.0 (as the IXI data it learnt from)"')
export OMP_NUM_THREADS=1
falling() {  # FROM TO: the rate falls to nothing
    exec nice -n 10 "$out/venv/bin/uad-train" "${given[@]}" -o "$2" --force --set start="\"$1\"" \
        --set corruption.anomalies.fade=1 --set optimiser.warmup=50 --set optimiser.decay=3000 --steps 3000
}
case $stage in
finish) falling "$out/any-small.last.safetensors" "$out/any-small-finished.safetensors" ;;
t1)
    given+=(--set corruption.domains.contrast=0 --set name=t1-small)
    falling "$out/any-small-finished.safetensors" "$out/t1-small.safetensors"
    ;;
flair)
    given+=(--set corruption.domains.contrast=1 --set corruption.domains.flair=1 --set corruption.domains.t2=0)
    given+=(--set corruption.anomalies.looks.bright=0.75 --set corruption.anomalies.looks.dark=0.25)
    given+=(--set corruption.anomalies.shapes.rim=0.3 --set name=flair-small)
    falling "$out/any-small-finished.safetensors" "$out/flair-small.safetensors"
    ;;
esac
again=
if [ -e "$out/any-small.resume.safetensors" ]; then again=--resume; fi
exec nice -n 10 "$out/venv/bin/uad-train" "${given[@]}" -o "$out/any-small.safetensors" --log "$out/log" $again
