"""Fixtures that several rooms' tests share: a tiny model file, a phantom scan and a tiny recipe."""

import os
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks are slowed down by threads; must precede torch

import numpy as np
import pytest

from uadtools.anatomy.intensity import inside
from uadtools.grids.grid import Grid
from uadtools.volume.chain import link
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

SHAPE = (16, 16, 8)
NETWORK = {
    "base": 8,
    "multipliers": (1, 2),
    "res_blocks": 1,
    "attention": (2,),
    "heads": 2,
    "groups": 4,
    "embedding": "scale_shift",
    "resample": "conv",
}
DENSE = {"base": 8, "multipliers": (1, 2), "latent": 6, "groups": 4}
NETWORKS = {
    "ae": DENSE, "dae": NETWORK, "vae": DENSE, "cevae": DENSE, "svae": DENSE | {"reach": 1}, "fanogan": DENSE,
    "mae": NETWORK,
}  # fmt: skip
"""Of the kinds of model without diffusion."""
OWN = {"fanogan": {"gan": {"share": 0.5, "critic": 2}}, "mae": {"masking": {"square": 4}}}
"""What these have beyond the others."""
ENCODER = {"base": 4, "blocks": (1, 1), "dimension": 6}
CODEBOOK = {"widths": (4, 8), "residuals": 1, "codes": 16, "dimension": 3}
BITS = {"widths": (4, 8), "residuals": 1, "bits": 6}
PARTS = {
    "pddpm": {"network": NETWORK, "patches": {"sizes": (8,)}, "target": "x0", "defaults": {"method": "pddpm"}},
    "cddpm": {"network": NETWORK, "encoder": ENCODER, "target": "x0", "defaults": {"method": "cddpm"}},
    "spark": {"network": {"width": 16}, "encoder": ENCODER},
    "vqvae": {"network": CODEBOOK},
    "restoration": {
        "network": NETWORK | {"attention": (), "reach": 2, "skips": "blocks"},
        "defaults": {"method": "restore"},
        "augment": {},
        "corruption": {"anomalies": {"radius": (1.0, 4.0), "fade": 10}, "domains": {"contrast": 0.5, "warp": 0.5}},
    },
    "ldm": {"network": NETWORK | {"attention": ()}, "autoencoder": CODEBOOK, "defaults": {"method": "ldm"}},
    "distilled": {"network": NETWORK, "target": "x0", "walk": {"steps": 4, "top": 200}},
    "transformer": {"network": {"width": 16, "layers": 2, "heads": 2}, "autoencoder": CODEBOOK},
    "binary": {"network": BITS},
    "bernoulli": {"network": NETWORK | {"attention": ()}, "autoencoder": BITS, "defaults": {"method": "bernoulli"}},
}
"""Of the kinds of model that Behrendt et al., Pinaya et al. and Wolleb et al. train, of those that mend, and of a
student.
"""
UNTIMED = ("spark", "vqvae", "transformer", "binary", "restoration", "distilled")
"""Of these, those that draw no t from a range."""


@pytest.fixture(scope="session")
def tiny_config():
    """Settings of a model on a grid of 16x16x8 voxels of 2 mm."""
    from uadtools.models.config import ModelConfig

    return ModelConfig.model_validate(
        {"name": "tiny", "network": NETWORK, "grid": {"shape": SHAPE}, "target": "x0", "defaults": {"t": [200]}}
    )


@pytest.fixture(scope="session")
def tiny_model(tiny_config, tmp_path_factory):
    """A model file with random weights, none of its layers left at zero."""
    return random_model(tiny_config, tmp_path_factory.mktemp("models") / "tiny.safetensors")


@pytest.fixture(scope="session")
def healthy_table():
    """A table of what healthy T1 scans look like, of made-up numbers."""
    from uadtools.anatomy.contrast import bundled
    from uadtools.anatomy.likeness import FEATURES, TOLERANCE
    from uadtools.healing.likeness import fit_likeness

    rng = np.random.default_rng(0)
    middle = dict(zip(bundled()["features"], bundled()["means"]["T1"], strict=True))
    people = [
        [{name: rng.normal(middle.get(name, 0.5), TOLERANCE[name] / 2) for name in FEATURES} for _ in range(3)]
        for _ in range(10)
    ]
    return fit_likeness({"T1": people})


@pytest.fixture
def wary_model(tiny_model, healthy_table, tmp_path):
    """The tiny model with that table; all that fits its grid is too small to be like it."""
    from uadtools.healing.likeness import keep

    return keep(tiny_model, healthy_table, tmp_path / "wary.safetensors")


@pytest.fixture(scope="session")
def tiny_guided(guided_recipes, tmp_path_factory):
    """The same for the kinds in PARTS, by kind."""
    folder = tmp_path_factory.mktemp("models")
    return {k: random_model(r.model({}), folder / f"{k}.safetensors") for k, r in guided_recipes.items()}


@pytest.fixture
def fine_model(tiny_guided, tmp_path):
    """The tiny model of restoration with weights that 16 bits do not hold."""
    from uadtools.models.checkpoint import read_config, read_tensors, save_model

    weights = {name: value.float() * (1 + 1e-5) for name, value in read_tensors(tiny_guided["restoration"]).items()}
    save_model(tmp_path / "fine.safetensors", read_config(tiny_guided["restoration"]), weights, half=False)
    return tmp_path / "fine.safetensors"


@pytest.fixture
def measured_model(tiny_guided, tmp_path):
    """The tiny model of restoration with a reference, of made-up numbers."""
    from uadtools.healing.reference import keep_reference
    from uadtools.models.defaults import ReferenceConfig

    expected = np.linspace(0.05, 0.2, np.prod(SHAPE) // 8, dtype=np.float32).reshape([n // 2 for n in SHAPE])
    about = ReferenceConfig(scans=8, smooth=1.5)
    return keep_reference(tiny_guided["restoration"], expected, about, tmp_path / "measured.safetensors")


@pytest.fixture(scope="session")
def tiny_models(tiny_recipes, tmp_path_factory):
    """The same for every kind of model without diffusion, by kind."""
    folder = tmp_path_factory.mktemp("models")
    return {k: random_model(r.model({}), folder / f"{k}.safetensors") for k, r in tiny_recipes.items()}


@pytest.fixture(scope="session")
def save_random():
    """Save a model with random weights: save_random(settings, path)."""
    return random_model


def random_model(config, path):
    import torch

    from uadtools.models.checkpoint import save_model
    from uadtools.models.model import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = build(config).state_dict()
        for value in weights.values():
            if value.is_floating_point() and not value.any():
                value.normal_(0, 0.02)
            if not value.isfinite().all():
                value.fill_(1.0)  # limits, which the end of training finds
    save_model(path, config, weights)
    return path


@pytest.fixture
def ship(tmp_path_factory, monkeypatch):
    """Bundle these model files in place of those that ship, the first as the default; returns where each lies."""
    from uadtools.models import checkpoint

    def bundle(**models):
        folder = tmp_path_factory.mktemp("shipped")
        places = {name: folder / "bundled" / name / f"{name}.safetensors" for name in models}
        for name, model in models.items():
            places[name].parent.mkdir(parents=True)
            places[name].write_bytes(model.read_bytes())
        monkeypatch.setattr(checkpoint, "files", lambda package: folder)
        monkeypatch.setattr(checkpoint, "DEFAULT", next(iter(models)))
        return places

    return bundle


@pytest.fixture(scope="session")
def phantom():
    """A prepared scan and its mask on the tiny model's grid: an ellipsoid with smooth contents, 0 outside."""
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    brain = (places**2).sum(axis=0) < 0.9
    waves = 0.5 + 0.3 * np.sin(4 * places[0]) * np.cos(3 * places[1]) + 0.1 * places[2]
    grid = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
    scan = Image(inside(waves, brain), grid, "scan", {"study": "phantom"})
    return Study("phantom", {"scan": scan, "brain": Image(brain.astype(np.uint8), grid, "brain", {"study": "phantom"})})


@pytest.fixture(scope="session")
def tiny_recipe():
    """Twelve quick steps on slices of 16x16."""
    from uadtools.interface.recipe import Recipe

    return Recipe.model_validate(
        {
            "name": "tiny",
            "source": "tests",
            "network": NETWORK,
            "target": "x0",
            "grid": {"shape": SHAPE},
            "augment": {"flip": 0.5, "affine": 0.5, "degrees": 10, "scale": 0.1, "shift": 1, "gamma": 0.2},
            "optimiser": {"learning_rate": 1e-2, "warmup": 3, "clip": 1.0, "ema": 0.9},
            "training": {
                "steps": 12,
                "batch": 4,
                "t_range": [0, 300],
                "log_every": 1,
                "validate_every": 3,
                "validation_slices": 4,
            },
        }
    )


@pytest.fixture(scope="session")
def tiny_recipes(tiny_recipe):
    """Twelve quick steps for every kind of model without diffusion, by kind; half of f-AnoGAN's are the GAN's."""
    from uadtools.interface.recipe import Recipe

    made = {}
    for kind, network in NETWORKS.items():
        data = tiny_recipe.model_dump(exclude={"network", "schedule", "target", "noise"})
        data |= {"name": f"tiny-{kind}", "kind": kind, "network": network, "defaults": {"method": kind}}
        data["training"] |= {"t_range": None}
        made[kind] = Recipe.model_validate(data | OWN.get(kind, {}))
    return made


@pytest.fixture(scope="session")
def guided_recipes(tiny_recipe):
    """Twelve quick steps for the kinds in PARTS, by kind."""
    from uadtools.interface.recipe import Recipe

    made = {}
    for kind, parts in PARTS.items():
        data = tiny_recipe.model_dump(exclude={"network", "schedule", "target", "noise", "defaults"})
        data |= {"name": f"tiny-{kind}", "kind": kind, **parts}
        data["training"] |= {"t_range": None} if kind in UNTIMED else {}
        made[kind] = Recipe.model_validate(data)
    return made


@pytest.fixture(scope="session")
def few_recipe(tiny_recipe, tiny_guided):
    """Twelve quick steps of a classifier on the features of the tiny model of restoration."""
    from uadtools.interface.recipe import Recipe

    data = tiny_recipe.model_dump(exclude={"network", "schedule", "target", "noise", "defaults"})
    own = {"name": "few", "kind": "fewshot", "features": {"pretrained": str(tiny_guided["restoration"])}}
    own |= {"head": {"width": 8}, "data": {"lesions": 0.5}, "training": data["training"] | {"t_range": None}}
    return Recipe.model_validate(data | own)


@pytest.fixture(scope="session")
def few_models(few_recipe, tiny_model, tmp_path_factory):
    """Models of that kind with random weights, by the kind of their frozen network."""
    from uadtools.interface.recipe import Recipe

    folder, data = tmp_path_factory.mktemp("few"), few_recipe.model_dump(exclude={"network", "features"})
    other = Recipe.model_validate(data | {"features": {"pretrained": str(tiny_model), "t": (20, 60)}})
    recipes = {"restoration": few_recipe, "diffusion": other}
    return {engine: random_model(r.model({}), folder / f"{engine}.safetensors") for engine, r in recipes.items()}


WEAK = {"classifier": {}, "cfg": {"classes": {"width": 6}, "defaults": {"method": "cfg"}}}
"""Kinds of models that are told which scans are sick, and what they have beyond others."""


@pytest.fixture(scope="session")
def weak_recipes(tiny_recipe, tiny_model):
    """Twelve quick steps for the kinds in WEAK, by kind, from the tiny model of diffusion on."""
    from uadtools.interface.recipe import Recipe

    data = tiny_recipe.model_dump(exclude={"network", "schedule", "target", "noise", "defaults", "data"})
    own = {"network": {"pretrained": str(tiny_model)}}
    return {
        kind: Recipe.model_validate(data | {"name": f"tiny-{kind}", "kind": kind} | own | parts)
        for kind, parts in WEAK.items()
    }


@pytest.fixture(scope="session")
def weak_models(weak_recipes, tmp_path_factory):
    """Models of these kinds with random weights, by kind."""
    folder = tmp_path_factory.mktemp("weak")
    return {kind: random_model(r.model({}), folder / f"{kind}.safetensors") for kind, r in weak_recipes.items()}


@pytest.fixture(scope="session")
def mask_recipes(tiny_recipe, tiny_guided):
    """Twelve quick steps of what learns lesions from masks alone, or beside the tiny model of restoration, by kind."""
    from uadtools.interface.recipe import Recipe

    slabs = NETWORK | {"attention": (), "reach": 1}
    own = {
        "supervised": {"network": slabs},
        "segment": {"network": slabs, "target": "x0", "defaults": {"samples": 2}},
        "joined": {"network": slabs | {"reach": 0}, "healer": {"pretrained": str(tiny_guided["restoration"])}},
    }
    data = tiny_recipe.model_dump(exclude={"network", "schedule", "target", "noise", "defaults"})
    data |= {"data": {"lesions": 0.5}, "training": data["training"] | {"t_range": None}}
    made = {kind: {**data, "name": f"tiny-{kind}", "kind": kind, **parts} for kind, parts in own.items()}
    made["bernoulli"] = made["segment"] | {"name": "tiny-bernoulli", "kernel": "bernoulli", "target": "eps"}
    made["lsegdiff"] = made["segment"] | {"name": "tiny-lsegdiff", "kind": "lsegdiff"}
    made["lsegdiff"] |= {"autoencoder": {"widths": (8,), "residuals": 1, "dimension": 3}}
    made["cold"] = made["segment"] | {"name": "tiny-cold", "kernel": "cold"}
    return {name: Recipe.model_validate(parts) for name, parts in made.items()}


@pytest.fixture(scope="session")
def mask_models(mask_recipes, tmp_path_factory):
    """Models of these kinds with random weights; bernoulli and cold are of masks that are flipped, or moved."""
    folder = tmp_path_factory.mktemp("masks")
    return {name: random_model(r.model({}), folder / f"{name}.safetensors") for name, r in mask_recipes.items()}


@pytest.fixture(scope="session")
def oblique():
    """An oblique stack of 16x20x9 voxels of 2.5 x 2.5 x 5 mm as a scanner makes them: an ellipsoid in 12 bits."""
    from scipy.spatial.transform import Rotation

    shape = (16, 20, 9)
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    contents = 500 + 300 * np.sin(5 * places[0]) * np.cos(4 * places[1]) + 90 * places[2]
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [10, -15, 20], degrees=True).as_matrix() @ np.diag([2.5, 2.5, 5])
    affine[:3, 3] = [-20, -30, -15]
    return Image(np.where((places**2).sum(axis=0) < 0.9, contents, 0).astype(np.int16), Grid(shape, affine))


NAME, ID = "DOE^JOHN", "MRN-77"
"""Of the patient in DICOM that tests make."""
UID = "1.2.826.0.1.3680043.8.498"


@pytest.fixture(scope="session")
def make_series():
    """Write an image as a series of DICOM, one file per slice; more: fields that differ, None takes one away."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    def fields(uid, number, k):
        return {
            "SOPClassUID": MRImageStorage, "SOPInstanceUID": f"{uid}.{k + 1}", "Modality": "MR",
            "Manufacturer": "SIEMENS", "PatientName": NAME, "PatientID": ID, "PatientBirthDate": "19500102",
            "PatientSex": "M",
            "StudyInstanceUID": f"{UID}.1", "SeriesInstanceUID": uid, "FrameOfReferenceUID": f"{UID}.2",
            "StudyDate": "20200304", "StudyTime": "101112", "StudyID": "1", "AccessionNumber": "ACC-5",
            "ReferringPhysicianName": "", "PositionReferenceIndicator": "", "SeriesNumber": number,
            "SeriesDescription": "T1 axial", "InstanceNumber": k + 1, "ImageType": ["ORIGINAL", "PRIMARY", "M"],
            "PatientPosition": "HFS", "MRAcquisitionType": "2D", "ScanningSequence": "SE", "SequenceVariant": "NONE",
            "ScanOptions": "", "EchoTime": 10, "RepetitionTime": 500, "EchoTrainLength": 1, "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11,
            "PixelRepresentation": 0,
        }  # fmt: skip

    def make(folder, image, *, number=3, name="IM{:04d}.dcm", **more):
        folder.mkdir(parents=True, exist_ok=True)
        lps = np.diag([-1, -1, 1, 1]) @ image.grid.affine
        (across, down, _), sizes = (lps[:3, :3] / image.grid.spacing).T, image.grid.spacing
        for k in range(image.data.shape[2]):
            ds = Dataset()
            place = {
                "ImageOrientationPatient": [f"{x:.9f}" for x in (*across, *down)],
                "ImagePositionPatient": [f"{x:.7f}" for x in lps[:3, 3] + k * lps[:3, 2]],
                "PixelSpacing": [sizes[1], sizes[0]], "SliceThickness": sizes[2], "SpacingBetweenSlices": sizes[2],
                "Columns": image.data.shape[0], "Rows": image.data.shape[1],
                "PixelData": np.ascontiguousarray(image.data[:, :, k].T.astype("<u2")).tobytes(),
            }  # fmt: skip
            for tag, value in (fields(f"{UID}.3.{number}", number, k) | place | more).items():
                if value is not None:
                    setattr(ds, tag, value)
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
            ds.save_as(folder / name.format(k), enforce_file_format=True)
        return folder

    return make


@pytest.fixture
def registered():
    """Say of a study that it was registered to a template that is twice as long along each axis as the person."""

    def make(study):
        own = Grid((20, 20, 20), np.eye(4))
        chain = [link("input", own), link("register", study.product.grid, np.diag([2.0, 2, 2, 1]))]
        images = study.images.items()
        return Study(study.name, {r: replace(i, provenance=i.provenance | {"chain": chain}) for r, i in images})

    return make
