#!/usr/bin/env bash
# A folder of raw scans: every step keeps its files, the model is loaded once.
# Usage: bash examples/cohort.sh RAW_FOLDER OUT_FOLDER
set -euo pipefail
raw=$1 out=$2

uad-preprocess "$raw" -o "$out/preprocessed/"
uad-heal "$out/preprocessed/" -o "$out/healed/"
uad-score "$out/healed/" --scan "$out/preprocessed/" -o "$out/score/"
uad-postproc "$out/score/" --native -o "$out/detection/" --json > "$out/detections.json"
