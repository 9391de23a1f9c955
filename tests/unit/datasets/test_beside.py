from pathlib import Path

import numpy as np
import pytest

from uadtools.datasets.beside import grouped, read_group, study_name
from uadtools.grids.grid import Grid
from uadtools.volume.io import Image, save
from uadtools.volume.reading import AS_IT_IS

DERIVATIVES = [
    ("sub-01_desc-preproc_T1w", "sub-01_T1w", "scan"),
    ("sub-01_desc-healed_T1w", "sub-01_T1w", "healed"),
    ("sub-01_desc-anomaly_T1w", "sub-01_T1w", "score"),
    ("sub-01_desc-probability_T1w", "sub-01_T1w", "probability"),
    ("sub-01_desc-uad_mask", "sub-01_T1w", "detection"),
    ("sub-01_desc-T1wbrain_mask", "sub-01_T1w", "brain"),
    ("sub-01_desc-brain_mask", "sub-01_T1w", "brain"),
    ("sub-01_desc-lesion_mask", "sub-01_T1w", "truth"),
    ("sub-01_mod-FLAIR_desc-uad_mask", "sub-01_FLAIR", "detection"),
    ("sub-01_ses-a_space-MNI152_res-2_desc-preproc_FLAIR", "sub-01_ses-a_space-MNI152_res-2_FLAIR", "scan"),
]


@pytest.mark.parametrize(("name", "study", "role"), DERIVATIVES)
def test_derivatives_are_called_after_their_scan_and_say_what_they_are(name, study, role, tmp_path):
    path = tmp_path / f"{name}.nii.gz"
    assert study_name(path) == study
    save(Image(np.eye(4)[:, :, None].astype(np.uint8), Grid((4, 4, 1), np.eye(4))), path)
    (read,) = read_group([path], (), AS_IT_IS, print)
    assert (read.name, list(read.images)) == (study, [role])


@pytest.mark.parametrize(
    "name", ["sub-01_T1w", "a_healed", "x_desc-preproc_T1w", "sub-01_desc-preproc", "sub-_desc-x_T1w"]
)
def test_other_names_are_taken_as_they_are(name):
    assert study_name(Path(f"{name}.nii.gz")) == name.removesuffix("_healed")


def test_derivatives_of_one_scan_are_one_study():
    paths = [Path(f"{name}.nii.gz") for name, _, _ in DERIVATIVES]
    assert [len(group) for group in grouped(paths)] == [8, 1, 1]
