"""Data sets as they are handed out, made up: their folders, names and headers, and balls in the place of brains."""

import nibabel as nib
import numpy as np

SIDE, SPACING = 16, 2.0
LABELS = {"brats2020": (1, 2, 4), "brats2021": (1, 2, 4), "brats2023": (1, 2, 3), "wmh2017": (1, 2)}
"""Of masks: the first in the lesion, the others in its upper half. Others have 1 alone."""

BRATS, BRATS23 = ("t1", "t1ce", "t2", "flair"), ("t1n", "t1c", "t2w", "t2f")
ATLAS = "Training/R001/sub-r001s{n:03}/ses-1/anat/sub-r001s{n:03}_ses-1_space-MNI152NLin2009aSym"
ISLES = "sub-strokecase{n:04}/ses-0001"
SCANS = {
    "ixi": [f"IXI-{c}/IXI{{n:03}}-{{site}}-08{{n:02}}-{c}.nii.gz" for c in ("T1", "T2", "PD")],
    "brats2020": [f"MICCAI_BraTS2020/BraTS20_Training_{{n:03}}/BraTS20_Training_{{n:03}}_{c}.nii" for c in BRATS],
    "brats2021": [f"BraTS2021_{{n:05}}/BraTS2021_{{n:05}}_{c}.nii.gz" for c in BRATS],
    "brats2023": [f"GLI/BraTS-GLI-{{n:05}}-000/BraTS-GLI-{{n:05}}-000-{c}.nii.gz" for c in BRATS23],
    "mslub": [f"coregistered/patient{{n:02}}/{c}.nii.gz" for c in ("FLAIR", "T1W", "T1WKS", "T2W")],
    "atlas2": [f"{ATLAS}_T1w.nii.gz"],
    "wmh2017": [f"{{hospital}}/{{n}}/{p}/{c}.nii.gz" for p in ("orig", "pre") for c in ("FLAIR", "T1", "3DT1")],
    "isles2022": [
        f"{ISLES}/{p}/sub-strokecase{{n:04}}_ses-0001_{c}.nii.gz"
        for p, c in (("dwi", "dwi"), ("dwi", "adc"), ("anat", "FLAIR"))
    ],
    "nfbs": [f"A000{{n:05}}/sub-A000{{n:05}}_ses-NFB3_T1w{e}.nii.gz" for e in ("", "_brain", "_brainmask")],
    "bids": [f"sub-{{n:02}}/anat/sub-{{n:02}}_{c}.nii.gz" for c in ("T1w", "T2w", "FLAIR", "PDw")],
    "mood": ["brain/brain_train/{n:05}.nii.gz"],
    "mood-toy": ["brain/toy/toy_{n}.nii.gz"],
    "fastmri": [f"file_brain_{c}_20{{n}}_60024{{n:02}}.nii.gz" for c in ("AXFLAIR", "AXT1POST")],
    "headct": ["MedNIST/HeadCT/{n:06}.{ending}"],
}
MASKS = {
    "brats2020": "MICCAI_BraTS2020/BraTS20_Training_{n:03}/BraTS20_Training_{n:03}_seg.nii",
    "brats2021": "BraTS2021_{n:05}/BraTS2021_{n:05}_seg.nii.gz",
    "brats2023": "GLI/BraTS-GLI-{n:05}-000/BraTS-GLI-{n:05}-000-seg.nii.gz",
    "mslub": "coregistered/patient{n:02}/consensus_gt.nii.gz",
    "atlas2": f"{ATLAS}_label-L_desc-T1lesion_mask.nii.gz",
    "wmh2017": "{hospital}/{n}/wmh.nii.gz",
    "isles2022": f"derivatives/{ISLES}/sub-strokecase{{n:04}}_ses-0001_msk.nii.gz",
    "bids": "derivatives/lesions/sub-{n:02}/anat/sub-{n:02}_desc-lesion_mask.nii.gz",
    "mood-toy": "brain/toy_label/pixel/toy_{n}.nii.gz",
}
HEALTHY = ("ixi", "nfbs", "mood", "headct")
HOSPITALS = ("Utrecht", "Singapore", "Amsterdam/GE3T")
BOXES = "file,slice,study_level,x,y,width,height,label\n"


def ball(seed, lesion=False, side=SIDE):
    """A stripped brain of a bright shell around a darker core; lesion: brighter, in one place."""
    places = np.stack(np.meshgrid(*[np.arange(side) - (side - 1) / 2] * 3, indexing="ij")) * 16 / side
    away = np.linalg.norm(places, axis=0)
    tissue = np.select([away < 2, away < 4, away < 6.5], [200.0, 500.0, 700.0], 0)
    speckle = np.random.default_rng(seed).normal(0, 20, tissue.shape)
    brain = np.where(tissue > 0, np.clip(tissue + speckle, 10, 1000), 0)
    return np.where(place(side) & lesion, 1000.0, brain).astype(np.float32)


def place(side=SIDE):
    """Where a lesion is, (X, Y, Z)."""
    there = np.zeros((side,) * 3, bool)
    there[side // 4 : side // 2, side // 2 : 3 * side // 4, side // 4 : side // 2] = True
    return there


def labelled(labels, side=SIDE):
    upper = np.arange(side) >= 3 * side // 8
    return np.where(place(side), np.where(upper & (len(labels) > 1), labels[-1], labels[0]), 0).astype(np.uint8)


def called(pattern, n):
    site, hospital = ("Guys", "HH", "IOP")[n % 3], HOSPITALS[n % 3]
    return pattern.format(n=n, site=site, hospital=hospital, ending=("jpeg", "png")[n % 2])


def handed_out(root, layout, count=3, side=SIDE):
    """Make a data set of `count` people; returns its folder."""
    affine = np.diag([SPACING * SIDE / side] * 3 + [1.0])
    sick = layout not in HEALTHY
    for n in range(1, count + 1):
        for i, pattern in enumerate(SCANS[layout]):
            path = root / called(pattern, n)
            path.parent.mkdir(parents=True, exist_ok=True)
            data = ball(100 * n + i, sick, side)
            if layout == "headct":
                _picture(data[:, :, side // 2], path)
            else:
                nib.save(nib.Nifti1Image(data, affine), path)
        if layout in MASKS:
            path = root / called(MASKS[layout], n)
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(labelled(LABELS.get(layout, (1,)), side), affine), path)
        if layout == "mood-toy":
            text = root / f"brain/toy_label/sample/toy_{n}.nii.gz.txt"
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text("1")
    if layout == "fastmri":
        names = [called(name, n).removesuffix(".nii.gz") for n in range(1, count + 1) for name in SCANS[layout]]
        rows = [f"{name},{z},No,4,8,4,4,Lesion\n" for name in names for z in range(4, 8)]
        (root / "brain.csv").write_text(BOXES + "".join(rows))
    return root


def _picture(data, path):
    from PIL import Image

    Image.fromarray((data / 1000 * 255).astype(np.uint8)).save(path)
