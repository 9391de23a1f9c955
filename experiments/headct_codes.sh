#!/usr/bin/env bash
# A VQ-VAE and a transformer of its codes, trained on HeadCT and judged with sprites (experiments/bench/headct-codes.toml), the
# transformer after every hour of its training. The same command goes on where it was stopped or killed.
# Usage: bash experiments/headct_codes.sh HEADCT OUT [HOURS]
# HEADCT: an .npz of uint8 images of 64x64, `train`, `val` and `test`; HOURS: of the transformer's training at most (12), on one core.
# OUT gets vqvae.safetensors, transformer.safetensors, and hours/NN/: model, log (.csv) and table (headct-codes.md) after NN hours. An
# hour in which it was killed is begun anew from where it was, so that the log says how many steps there were.
set -euo pipefail
house=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$2/hours"
data=$(realpath "$1") hours=${3:-12}
cd "$2"
export OMP_NUM_THREADS=1
ln -sf "$data" headct_64.npz
if [ ! -e headct_val20.npz ]; then
    python -c "import numpy as np; np.savez('headct_val20.npz', val=np.load('headct_64.npz')['val'][::20])"
fi

again() { if [ -e "${1%.safetensors}.resume.safetensors" ]; then echo --resume; fi; }
learn() {  # RECIPE MODEL OPTION...
    nice -n 10 uad-train headct_64.npz:train --val headct_64.npz:val --recipe "$1" -o "$2" --workers 1 --quiet \
        --set 'licence="CC BY-SA 4.0 (as the MedNIST HeadCT images it learnt from)"' "${@:3}" $(again "$2")
}

if [ ! -e vqvae.done ]; then
    learn vqvae vqvae.safetensors
    touch vqvae.done
fi
previous=
for hour in $(seq -f %02g 1 "$hours"); do
    now=hours/$hour
    mkdir -p "$now"
    if [ ! -e "$now/transformer.safetensors" ]; then
        learn transformer-headct transformer.safetensors --set 'autoencoder.pretrained="vqvae.safetensors"' --time 1h
        if [ "$previous" ] && cmp -s transformer.csv "$previous/transformer.csv"; then rmdir "$now" && break; fi  # all steps are done
        cp transformer.csv "$now/"
        cp transformer.safetensors "$now/part" && mv "$now/part" "$now/transformer.safetensors"
    fi
    for file in headct_64.npz headct_val20.npz vqvae.safetensors; do ln -sf "../../$file" "$now/$file"; done
    nice -n 10 uad-bench "$house/experiments/bench/headct-codes.toml" --data "$now" -o "$now" --quiet
    previous=$now
done
