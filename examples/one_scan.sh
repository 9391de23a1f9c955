#!/bin/sh
# One pipe from the raw scan to its lesions. Usage: sh examples/one_scan.sh SCAN OUT
set -eu
uad-preprocess "$1" -o - | uad-heal --method sss -t 300 | uad-score | uad-postproc --native -o "$2"
