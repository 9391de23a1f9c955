import numpy as np
import pytest

from uadtools.errors import Misuse, UadError
from uadtools.grids.grid import Grid
from uadtools.volume.io import Image
from uadtools.volume.labels import IGNORED, Choice, is_labels, looks_unlike, read_labels, whole
from uadtools.volume.roles import INPUTS, ROLES, require_role

SHAPE = (4, 4, 4)
HISTORY = {"history": [{"tool": "uad-preprocess"}]}


def image(data, role="scan", provenance=None):
    data = np.asarray(data)
    return Image(data, Grid(data.shape, np.eye(4)), role, provenance or {})


def labelled(*values, dtype=np.uint8):
    """The values in turn, after 0."""
    return np.resize(np.array((0, *values), dtype=dtype), SHAPE)


@pytest.mark.parametrize("one", [1.00000006, 0.9999999, 254.99999, 1, np.int8(-1), 7])
def test_a_mask_is_what_is_not_0_whatever_its_value(one):
    """A scl_slope of 32 bits makes 1.00000006 of 1, and 255 in int8 is -1."""
    data = np.where(labelled(1) > 0, one, np.zeros((), type(one)))
    made, _ = read_labels(image(data), "truth", "t")
    np.testing.assert_array_equal(made.data, labelled(1))
    assert is_labels(data)


def test_a_plain_mask_needs_no_word_and_another_does():
    assert read_labels(image(labelled(1)), "truth", "t")[1] == []
    (guess,) = read_labels(image(labelled(255)), "truth", "t")[1]
    assert (guess.code, guess.value, guess.text) == ("labels", "255", "t: a mask of the value 255, all of which counts")


def test_label_2_of_wmh_counts_neither_way():
    made, (guess,) = read_labels(image(labelled(1, 2)), "truth", "t")
    np.testing.assert_array_equal(made.data, labelled(1, IGNORED))
    assert "1 counts as lesion, 2 neither way (--label and --ignore choose)" in guess.text
    again, guesses = read_labels(made, "truth", "t")
    np.testing.assert_array_equal(again.data, made.data)
    assert guesses == []


@pytest.mark.parametrize("wanted", ["brain", "prediction"])
def test_label_2_of_other_images_counts(wanted):
    made, (guess,) = read_labels(image(labelled(1, 2)), wanted, "t")
    assert made.data.sum() == (labelled(1, 2) > 0).sum()
    assert guess.text == "t: holds the labels 1, 2, and all of them count (--label chooses)"


def test_of_many_labels_all_count_unless_some_are_chosen():
    tumour = image(labelled(1, 2, 4))
    assert (read_labels(tumour, "truth", "t")[0].data == labelled(1, 1, 1)).all()
    made, guesses = read_labels(tumour, "truth", "t", Choice((4,), (1,)))
    np.testing.assert_array_equal(made.data, labelled(IGNORED, 0, 1))
    assert guesses == []
    made, guesses = read_labels(tumour, "truth", "t", Choice(ignore=(2,)))
    np.testing.assert_array_equal(made.data, labelled(1, IGNORED, 1))


def test_labels_that_are_not_there_are_told_and_leave_nothing():
    made, (guess,) = read_labels(image(labelled(1)), "truth", "t", Choice((3,)))
    assert not made.data.any()
    assert guess.text == "t: has none of the labels chosen, only 1"


def test_only_ignored_voxels_are_still_ignored_when_read_again():
    made, _ = read_labels(image(labelled(3)), "truth", "t", Choice(ignore=(3,)))
    again, _ = read_labels(made.derive(made.data, "truth"), "truth", "t")
    assert set(np.unique(again.data)) == {0, IGNORED}


def test_what_is_chosen_twice_is_told():
    with pytest.raises(Misuse, match="--ignore: 2 counts as lesion, too"):
        Choice((1, 2), (2,))


def test_probabilities_count_above_a_half_and_are_told():
    data = np.linspace(0, 1, 64, dtype=np.float32).reshape(SHAPE)
    made, (guess,) = read_labels(image(data), "brain", "b")
    np.testing.assert_array_equal(made.data, data > 0.5)
    assert "read as probabilities" in guess.text


def test_a_scan_is_no_mask():
    data = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    with pytest.raises(UadError, match=r"^a: holds more than 256 different values, so it is no mask \(is"):
        read_labels(image(data), "truth", "a")
    with pytest.raises(UadError, match=r"^a: holds 0 to 2.5, not labels"):
        read_labels(image(labelled(0.5, 2.5, dtype=np.float32)), "truth", "a")
    assert whole(np.full(SHAPE, 1e-7, np.float32)) is None


@pytest.mark.parametrize("wanted", INPUTS)
@pytest.mark.parametrize("role", ROLES)
def test_every_input_takes_its_roles_alone(wanted, role):
    given = image(labelled(1), role, HISTORY)
    if role in INPUTS[wanted].roles:
        require_role(given, wanted, "a")
    else:
        with pytest.raises(UadError, match=rf"^a: is an? {role}, not a .* \("):
            require_role(given, wanted, "a")
    require_role(image(labelled(1)), wanted, "a")


def test_an_image_that_lost_its_role_is_what_made_it():
    lost = image(labelled(1), "scan", {"history": [{"tool": "uad-heal"}, {"tool": "uad-postproc"}]})
    with pytest.raises(UadError, match=r"^a: is a detection, not a scan"):
        require_role(lost, "scan", "a")


def test_plain_images_are_told_by_their_voxels():
    raw = np.arange(1000, dtype=np.int16).reshape(10, 10, 10)
    bright = np.random.default_rng(0).uniform(0.3, 0.9, (10, 10, 10)).astype(np.float32)
    residual = np.abs(np.random.default_rng(0).normal(0, 0.02, (10, 10, 10))).astype(np.float32)
    for data in (raw, bright):
        (concern,) = looks_unlike(image(data), "score", "a")
        assert (concern.code, concern.value) == ("looks-unlike", "scan")
    assert looks_unlike(image(residual), "score", "a") == looks_unlike(image(bright), "scan", "a") == []
    (concern,) = looks_unlike(image(labelled(1)), "scan", "a")
    assert (concern.code, concern.value) == ("looks-unlike", "mask")
