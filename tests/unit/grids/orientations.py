"""All 48 orientations of a volume, and turns."""

import itertools

import numpy as np

ORIENTATIONS = [
    "".join(side[way] for side, way in zip(axes, ways, strict=True))
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for ways in itertools.product((0, 1), repeat=3)
]


def rotation(x, y, z):
    """Turn by these angles, in degrees, about the three axes."""
    a, b, c = np.radians([x, y, z])
    about_x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    about_y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    about_z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    return np.array(about_z) @ about_y @ about_x
