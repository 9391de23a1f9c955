#!/usr/bin/env bash
# Train on your own healthy scans, and use the result. Kill it when you like: --resume goes on where it was.
# Usage: bash examples/train_own.sh HEALTHY_FOLDER VALIDATION_FOLDER OUT_FOLDER
set -euo pipefail
healthy=$1 held_out=$2 out=$3

uad-preprocess "$healthy" -o "$out/train/" --shape 96,96,96 --spacing 2
uad-preprocess "$held_out" -o "$out/val/" --shape 96,96,96 --spacing 2
uad-train "$out/train" --val "$out/val" --recipe t1-ddpm -o "$out/model.safetensors" --time 8h
