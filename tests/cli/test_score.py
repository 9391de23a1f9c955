import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from uadtools.scoring.normal import learn, save_normal
from uadtools.scoring.score import score as scored
from uadtools.volume.io import Image, save, to_bytes
from uadtools.volume.stream import Study, read_image, read_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def healing(phantom):
    """What uad-heal would make of the phantom: left darker, right brighter, of which the history tells."""
    scan = phantom.need("scan")
    steps = np.where(np.arange(scan.data.shape[0]) < 8, -0.1, 0.05)[:, None, None]
    data = np.where(scan.data > 0, np.clip(scan.data + steps, 0.01, 1), 0).astype(np.float32)
    return Image(data, scan.grid, "healed", {"study": "phantom", "history": [{"tool": "uad-heal", "seed": 7}]})


@pytest.fixture
def healed(here, healing):
    save(healing, here / "p_healed.nii.gz", provenance=False)
    return here / "p_healed.nii.gz"


@pytest.fixture
def spread(here, healing):
    """What several draws of it would spread: more to the right."""
    data = np.where(healing.data > 0, np.linspace(0.01, 0.3, healing.data.shape[0])[:, None, None], 0)
    save(Image(data.astype(np.float32), healing.grid, "spread"), here / "p_spread.nii.gz")
    return here / "p_spread.nii.gz"


@pytest.fixture
def normal(here, phantom, healing):
    """What healthy scans without history score: the phantom's residual, and twice that."""
    images = [phantom.need("scan"), healing]
    scan, healed = (replace(image, provenance={}) for image in images)
    study = scored(Study("a", {"scan": scan, "healed": healed}))
    twice = study.adding(study.product.derive(2 * study.product.data, "score"))
    save_normal(learn([study, twice]), here / "normal.nii.gz")
    return here / "normal.nii.gz"


@pytest.fixture
def stream(phantom, healing):
    """Healed, scan and brain, as uad-heal writes them."""
    return b"".join(map(to_bytes, phantom.adding(healing).images.values()))


@pytest.fixture
def score(uad, prepared, healed, here):
    """Score the pair of files with these options, and return the map."""

    def run(*options):
        result = uad("score", prepared, healed, "-o", "out.nii", "--force", *options)
        assert (result.status, result.out, result.err) == (0, b"", "")
        return read_image(here / "out.nii").data

    return run


def test_two_files_become_a_file_named_after_the_scan(uad, prepared, healed, here, phantom, healing):
    result = uad("score", prepared, healed)
    assert (result.status, result.out, result.err) == (0, b"", "")
    assert names(here) == ["p.nii.gz", "p_healed.nii.gz", "p_score.json", "p_score.nii.gz"]
    made = read_image(here / "p_score.nii.gz")
    assert made.role == "score"
    expected = np.abs(phantom.need("scan").data - healing.data)
    np.testing.assert_allclose(made.data, expected, atol=2e-6)


def test_names_are_without_what_was_appended_before(uad, prepared, healed, here):
    prepared = prepared.rename(here / "p_preprocessed.nii.gz")
    assert uad("score", prepared, healed).status == 0
    assert (here / "p_score.nii.gz").exists()


def test_the_json_beside_it_continues_the_history(uad, stream, here):
    assert uad("score", "-o", "s.nii", "--signed", "dark", stdin=stream).status == 0
    kept = json.loads((here / "s.json").read_text())
    assert kept == read_image(here / "s.nii").provenance
    assert [line["tool"] for line in kept["history"]] == ["uad-heal", "uad-score"]
    assert kept["history"][1]["arguments"] == {"metric": "l1", "signed": "dark"}


def test_without_provenance_there_is_none(uad, prepared, healed, here):
    assert uad("score", prepared, healed, "--no-provenance").status == 0
    assert names(here) == ["p.nii.gz", "p_healed.nii.gz", "p_score.nii.gz"]
    assert read_image(here / "p_score.nii.gz").provenance == {}


def test_a_stream_becomes_a_stream_with_the_score_in_front(uad, stream, here, score):
    result = uad("score", stdin=stream)
    assert (result.status, result.err) == (0, "")
    (here / "s.nii").write_bytes(result.out)
    (study,) = read_path(here / "s.nii")
    assert list(study.images) == ["score", "healed", "scan", "brain"]
    np.testing.assert_array_equal(study.product.data, score())
    assert uad("score", "-", "-o", "-", stdin=stream).out == result.out


def test_a_stream_kept_in_a_file(uad, stream, here):
    (here / "a.nii").write_bytes(stream)
    assert uad("score", "a.nii").status == 0
    assert names(here) == ["a.nii", "a_score.json", "a_score.nii.gz"]


def test_a_pair_becomes_a_stream_if_wanted(uad, prepared, healed, here):
    (here / "s.nii").write_bytes(uad("score", prepared, healed, "-o", "-").out)
    (study,) = read_path(here / "s.nii")
    assert list(study.images) == ["score", "healed", "scan"]


def test_several_studies_go_to_a_folder(uad, phantom, healing, here):
    both = []
    for name in ("a", "b"):
        said = {"study": name}
        images = [Image(i.data, i.grid, i.role, said) for i in phantom.adding(healing).images.values()]
        both += map(to_bytes, images)
    assert uad("score", "-o", "out", stdin=b"".join(both)).status == 0
    assert names(here / "out") == ["a_score.json", "a_score.nii.gz", "b_score.json", "b_score.nii.gz"]
    told = uad("score", "--json", stdin=b"".join(both)).json
    assert [(row["name"], row["output"]) for row in told] == [("a", None), ("b", None)]


def test_nothing_is_overwritten_without_force(uad, prepared, healed, here):
    (here / "p_score.json").write_text("mine")
    uad("score", prepared, healed).fails("score", 1, "p_score.json", "exists (--force replaces it)")
    assert (here / "p_score.json").read_text() == "mine"
    assert not (here / "p_score.nii.gz").exists()
    assert uad("score", prepared, healed, "--force").status == 0


def test_metric_has_an_effect(score):
    np.testing.assert_allclose(score("--metric", "l2"), score("--metric", "l1") ** 2, atol=2e-6)
    np.testing.assert_array_equal(score(), score("--metric", "l1", "--signed", "both"))


def test_signed_has_an_effect(score):
    both, bright, dark = (score("--signed", sign) for sign in ("both", "bright", "dark"))
    assert (bright[:8] > 0.05).any()
    assert (bright[8:] <= 1e-6).all()
    assert (dark[:8] <= 1e-6).all()
    np.testing.assert_allclose(np.maximum(bright, dark), both, atol=1e-6)


@pytest.mark.parametrize("metric", ["ssim", "gradient", "mahalanobis"])
def test_other_metrics_score_the_same_brain(metric, score, spread):
    options = ("--spread", spread) if metric == "mahalanobis" else ()
    made = score("--metric", metric, *options)
    np.testing.assert_array_equal(made > 0, score() > 0)
    assert 0.005 < made.max() < 2
    assert np.abs(made - score()).max() > 0.01


def test_mahalanobis_is_in_units_of_the_spread(score, spread, phantom):
    made = score("--metric", "mahalanobis", "--spread", spread)
    expected = score() / np.hypot(read_image(spread).data, 0.1)
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=2e-5)


def test_mahalanobis_takes_the_spread_of_the_stream(uad, stream, spread, here):
    whole = stream + to_bytes(read_image(spread))
    assert uad("score", "--metric", "mahalanobis", "-o", "s.nii", stdin=whole).status == 0
    assert uad("score", "--metric", "mahalanobis", "--spread", spread, "-o", "f.nii", stdin=stream).status == 0
    np.testing.assert_array_equal(*(read_image(here / name).data for name in ("s.nii", "f.nii")))


def test_without_a_spread_mahalanobis_says_how_to_get_one(uad, stream):
    told = ("no image of role 'spread'", "uad-heal --samples 8", "--spread")
    uad("score", "--metric", "mahalanobis", stdin=stream).fails("score", 1, *told)


def test_a_spread_without_effect_is_refused(uad, prepared, healed, spread):
    uad("score", prepared, healed, "--spread", spread).fails("score", 2, "--spread", "no effect with --metric l1")


def test_a_reference_puts_the_score_in_units_of_healthy_scores(score, normal):
    mean, spread = (image.data for image in next(read_path(normal)).images.values())
    expected = np.where(score() > 0, np.maximum((score() - mean) / spread, 1e-6), 0)
    np.testing.assert_allclose(score("--reference", normal), expected, rtol=1e-3, atol=2e-5)


def test_the_old_name_of_reference_works_and_names_the_new_one(uad, score, normal, stream):
    np.testing.assert_array_equal(score("--normal", normal, "-q"), score("--reference", normal))
    line = "uad-score: --normal is called --reference (the old name works for this version only)"
    assert uad("score", "--json", f"--normal={normal}", stdin=stream).lines == [line]
    assert uad("score", "--json", "--reference", normal, stdin=stream).err == ""
    assert uad("score", "--json", "--normal", normal, "--quiet", stdin=stream).err == ""
    assert b"--normal" not in uad("score", "--help").out


def test_a_reference_must_be_of_the_same_way_of_scoring(uad, prepared, healed, normal):
    told = ("p: its score was not made as that of the reference", "uad-score metric l2, not l1")
    uad("score", prepared, healed, "--metric", "l2", "--reference", normal).fails("score", 1, *told)
    uad("score", prepared, healed, "--reference", prepared).fails(
        "score", 1, "p.nii.gz: not what healthy scores are like"
    )


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("--metric", "'l1', 'l2', 'product', 'relative', 'probability', 'anomaly', 'perceptual', 'ssim', 'gradient', "),
        ("--signed", "'both', 'bright', 'dark'"),
    ],
)
def test_unknown_choices_are_refused(option, choices, uad, prepared, healed):
    uad("score", prepared, healed, option, "l3").fails("score", 2, option, "l3", choices)


def test_brain_limits_the_score(score, mask):
    np.testing.assert_array_equal(score("--brain", mask) > 0, read_image(mask).data > 0)


def test_brain_changes_the_case_score(uad, stream, mask):
    whole, half = (uad("score", "--json", *options, stdin=stream).json for options in ((), ("--brain", mask)))
    assert half[0]["case_score"] == pytest.approx(0.05, abs=1e-3)
    assert whole[0]["case_score"] == pytest.approx(0.075, abs=3e-3)


def test_json_tells_the_case_score(uad, prepared, healed, here):
    (told,) = uad("score", prepared, healed, "--json").json
    made = read_image(here / "p_score.nii.gz").data
    assert told.pop("case_score") == pytest.approx(made[made > 0].mean(dtype=float))
    assert told.pop("top") == pytest.approx(np.sort(made[made > 0])[-11:].mean(), rel=1e-4)
    known = {"name": "p", "output": "p_score.nii.gz", "metric": "l1", "signed": "both", "normal": None}
    assert told == known | {
        "peak": None,
        "detected_ml": None,
        "bound": None,
        "chain": None,
        "nll": None,
        "concerns": [],
        "unlike": None,
    }  # nothing of this brain survives erosion


def test_json_tells_what_is_known_in_a_stream(uad, phantom, healing, normal):
    healed = replace(healing, provenance={"history": [{"tool": "uad-heal", "threshold": 0.07}]})
    bound, chain = (healing.derive(np.full_like(healing.data, v), r) for v, r in ((3, "bound"), (5, "chain")))
    stream = b"".join(map(to_bytes, phantom.adding(healed, bound, chain).images.values()))
    (told,) = uad("score", "--json", stdin=stream).json
    assert (told["bound"], told["chain"]) == (3, 5)
    assert told["detected_ml"] == 0
    (told,) = uad("score", "--json", "--reference", normal, stdin=stream).json
    assert (told["normal"], told["detected_ml"]) == (str(normal), None)


def test_verbose_tells_the_case_score_and_quiet_is_silent(uad, stream):
    assert uad("score", "--json", "-v", stdin=stream).err.startswith("uad-score: phantom: case score 0.07")
    assert uad("score", "--json", "-v", "-q", stdin=stream).err == ""


def test_volume_chooses_of_4d_images(uad, prepared, healed, here, score):
    for path in (prepared, healed):
        data = nib.load(path).get_fdata()
        nib.save(nib.Nifti1Image(np.stack([data * 0, data], axis=-1), nib.load(path).affine), f"four_{path.name}")
    pair = ("four_p.nii.gz", "four_p_healed.nii.gz")
    uad("score", *pair).fails("score", 1, "four_p.nii.gz", "2 volumes", "--volume N")
    assert uad("score", *pair, "--volume", 1).status == 0
    np.testing.assert_allclose(read_image(here / "four_p_score.nii.gz").data, score(), atol=1e-6)


def test_a_healed_scan_is_no_scan(uad, prepared, healed):
    uad("score", healed, prepared).fails("score", 2, "p_healed.nii.gz", "name the scan first")


def test_one_file_twice_or_half_a_stream_are_refused(uad, prepared, healed):
    uad("score", prepared, healed, healed).fails("score", 1, "p_score.nii.gz: would be written twice")
    uad("score", prepared, "-").fails("score", 2, "SCAN HEALED", "two files, or one stream")


def test_a_scan_alone_is_refused(uad, prepared):
    uad("score", prepared).fails("score", 1, "p: no image of role 'healed'", "name SCAN HEALED")
    uad("score", stdin=prepared.read_bytes()).fails("score", 1, "no image of role 'healed'")


def test_json_and_a_stream_do_not_share_standard_output(uad, prepared, healed):
    uad("score", prepared, healed, "--json", "-o", "-").fails("score", 2, "--json", "-o FILE")


def test_version(uad):
    assert uad("score", "--version").out.startswith(b"uadtools ")


def test_a_prepared_scan_in_the_place_of_the_healed_one_is_told(uad, phantom, here):
    """It has a history, which says that nothing was healed; what another program made has none, and is believed."""
    scan = phantom.need("scan")
    save(replace(scan, provenance={"history": [{"tool": "uad-preprocess"}]}), here / "p.nii.gz")
    uad("score", "p.nii.gz", "p.nii.gz").fails("score", 2, "p.nii.gz is a scan and no healed scan")


def test_a_detection_is_no_scan_and_a_score_no_spread(uad, phantom, here):
    scan = phantom.need("scan")
    mask = (scan.data > 0.5).astype(np.uint8)
    for name, image in (("d", scan.derive(mask, "detection")), ("h", scan.derive(scan.data, "healed")), ("p", scan)):
        save(image, here / f"{name}.nii.gz", provenance=False)
    uad("score", "d.nii.gz", "h.nii.gz").fails("score", 1, "d.nii.gz: is a detection, not a scan")
    words = ("score", "p.nii.gz", "h.nii.gz", "--metric", "mahalanobis", "--spread", "d.nii.gz")
    uad(*words).fails("score", 1, "d.nii.gz: is a detection, not a map of the spread")
    save(scan.derive(mask, "scan"), here / "m.nii.gz", provenance=False)
    assert "m.nii.gz: looks like a mask, not like a scan" in uad("score", "m.nii.gz", "h.nii.gz").err
