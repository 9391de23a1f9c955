#!/bin/sh
# How well models keep the contrast of scans unlike those they learnt from: KLD, l1 and SSIM of scan and healed by level.
# Usage: sh examples/contrast.sh PREPARED_FOLDER OUT_FOLDER [MODEL...]    (without MODEL: the bundled one)
set -eu
prepared=$1 out=$2
shift 2
[ $# -gt 0 ] || set -- ""

for level in 0.3 0.7 1 1.5 2; do
    uad-simulate "$prepared"/*.nii.gz --kind contrast --level "$level" -o "$out/scans/$level/"
done
for model in "$@"; do
    name=$(basename "${model:-bundled}" .safetensors)
    for scans in "$out"/scans/*; do
        uad-heal "$scans"/*_simulated.nii.gz ${model:+--model "$model"} -o "$out/$name/${scans##*/}/"
    done
    echo "$name"
    uad-eval "$out/$name"/*/*_healed.nii.gz --scan "$out"/scans/*/*_simulated.nii.gz --by contrast -o "$out/$name.json"
done
