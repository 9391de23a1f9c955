import numpy as np

from uadtools.grids.slices import filled, from_network, to_network, to_slices, to_volume

VOLUME = np.random.default_rng(0).random((3, 4, 5))


def test_rows_run_along_y_and_columns_along_x():
    slices = to_slices(VOLUME)
    assert slices.shape == (5, 1, 4, 3)
    for x, y, z in ((0, 0, 0), (2, 1, 4), (1, 3, 2)):
        assert slices[z, 0, y, x] == np.float32(VOLUME[x, y, z])


def test_slices_become_the_volume_they_were_cut_from():
    for volume in (VOLUME, np.asfortranarray(VOLUME)):
        slices = to_slices(volume)
        assert slices.dtype == np.float32
        assert slices.flags.c_contiguous
        back = to_volume(slices)
        assert back.flags.c_contiguous
        np.testing.assert_array_equal(back, VOLUME.astype(np.float32))


def test_filled_names_the_slices_with_any_brain():
    brain = np.zeros((3, 4, 6), dtype=bool)
    brain[1, 2, 1] = brain[0, 0, 4] = brain[2, 3, 4] = True
    np.testing.assert_array_equal(filled(brain), [1, 4])
    assert filled(np.zeros((3, 4, 6), dtype=bool)).size == 0


def test_the_network_sees_minus_1_to_1():
    x = np.float32([0, 0.25, 0.5, 1])
    np.testing.assert_array_equal(to_network(x), np.float32([-1, -0.5, 0, 1]))
    np.testing.assert_array_equal(from_network(to_network(x)), x)
    assert to_network(x).dtype == from_network(x).dtype == np.float32


def test_what_the_network_says_beyond_that_is_cut_off():
    np.testing.assert_array_equal(from_network(np.float32([-3, 1.2])), [0, 1])
