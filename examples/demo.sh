#!/bin/sh
# Find the lesions of patient 19 on FLAIR and on T1, judge both, and show them. Usage: sh examples/demo.sh [FOLDER]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-demo}
truth="$here/data/patient19_lesion.nii.gz"

# lesions of multiple sclerosis are brighter than healthy tissue on FLAIR, and darker on T1
for contrast in FLAIR:bright T1w:dark; do
    name="patient19_${contrast%:*}" sign="${contrast#*:}"
    echo "$name, $sign lesions"
    uad run "$here/data/$name.nii.gz" --signed "$sign" -o "$out" --keep --force --verbose

    echo "The detection, on the grid of the scan, against the experts' consensus:"
    uad-eval "$out/${name}_detection.nii.gz" --truth "$truth"
    echo "The score map, before any threshold:"
    uad-eval "$out/${name}_score.nii.gz" --truth "$truth" --best
    echo "The same question put to the intensities alone, as a baseline:"
    uad-heal "$out/${name}_preprocessed.nii.gz" --method threshold -o - |
        uad-score --signed "$sign" -o "$out/${name}_threshold.nii.gz" --force
    uad-eval "$out/${name}_threshold.nii.gz" --truth "$truth" --best
    echo

    gzip -dc "$out/${name}_score.nii.gz" "$out/${name}_healed.nii.gz" "$out/${name}_preprocessed.nii.gz" |
        uad-postproc | uad-eval - --truth "$truth" --picture "$out/$name.png" --force --quiet
    uad-report "$out/${name}_detection.nii.gz" --truth "$truth" --keep-names -o "$out/$name.html" --force
done
echo "Pictures: $out/patient19_FLAIR.png, $out/patient19_T1w.png"
echo "To look at in a browser: $out/patient19_T1w.html"
echo "$out/patient19_FLAIR.html"
