#!/bin/sh
# Find the lesions of patient 19, file by file, and draw them. Usage: sh examples/demo.sh [FOLDER]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-demo}
mkdir -p "$out"
# on T1, multiple sclerosis is darker than healthy tissue, hence --signed dark
scan="$here/data/patient19_T1w.nii.gz"
truth="$here/data/patient19_lesion.nii.gz"

uad-preprocess "$scan" -o "$out/preprocessed.nii.gz" --force --verbose
uad-heal "$out/preprocessed.nii.gz" -o "$out/healed.nii.gz" --force --verbose
uad-score "$out/preprocessed.nii.gz" "$out/healed.nii.gz" --signed dark -o "$out/score.nii.gz" --force --verbose
uad-postproc "$out/score.nii.gz" --native -o "$out/lesions.nii.gz" --force --verbose

echo
echo "The detection, on the grid of the scan, against the experts' consensus:"
uad-eval "$out/lesions.nii.gz" --truth "$truth"
echo
echo "The score map, before any threshold:"
uad-eval "$out/score.nii.gz" --truth "$truth" --best
echo
echo "The same question put to the intensities alone (dark is suspicious), as a baseline:"
python "$here/threshold_baseline.py" "$out/preprocessed.nii.gz" "$out/threshold.nii.gz"
uad-eval "$out/threshold.nii.gz" --truth "$truth" --best

uad-preprocess "$scan" -o - | uad-heal | uad-score --signed dark | uad-postproc |
    uad-eval - --truth "$truth" --picture "$out/patient19.png" --force --quiet
echo
echo "Picture: $out/patient19.png"
