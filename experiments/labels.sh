#!/usr/bin/env bash
# Models that learn one kind of lesion, bright blobs, from 1, 5, 20 and all labelled people, for experiments/bench/labels.toml; and one that
# is told of each slice of them all whether a lesion touches it (image labels).
# Usage: bash experiments/labels.sh FOLDER
# FOLDER: what experiments/ixi_brains.py made. A run that was stopped or killed goes on.
set -euo pipefail
cd "$1"
mkdir -p labels
export OMP_NUM_THREADS=1
sed -n '/_preprocessed/{s|^|../|;p}' tune.txt | head -n 3 > labels/tune.txt
mapfile -t heads < <(grep '^train/' learn.txt)
uad-simulate "${heads[@]}" -o labels/simulated --kind blobs --tone bright --seed 1 --quiet
mapfile -t labelled < <(ls labels/simulated/*_simulated.nii.gz)

train() {  # NAME OPTION...
    local model="labels/$1.safetensors" again=
    if [ -e "labels/$1.done" ]; then return; fi
    if [ -e "${model%.safetensors}.resume.safetensors" ]; then again=--resume; fi
    nice -n 10 uad-train "${@:2}" -o "$model" --quiet $again
    touch "labels/$1.done"
}
learn() {  # RECIPE NUMBER OPTION...
    local scans=("${labelled[@]:0:$2}")
    train "$1-$2" "${scans[@]}" --labels "${scans[@]/_simulated/_truth}" --recipe "$1" "${@:3}"
}

for number in 1 5 20 122; do
    learn fewshot "$number"
    learn supervised "$number" --steps 1000 --set optimiser.decay=300
    if [ "$number" != 1 ]; then learn joined "$number" --steps 1000 --set optimiser.decay=300; fi
done
train cfg-122 "${heads[@]}" --sick "${labelled[@]}" --sick-slices "${labelled[@]/_simulated/_truth}" --recipe cfg \
    --steps 1000 --set optimiser.decay=300
