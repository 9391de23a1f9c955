import numpy as np
import pytest

from uadtools.diffusion.schedule import Schedule, betas


@pytest.mark.parametrize("steps", [25, 200, 1000])
def test_quadratic_has_the_ends_of_linear_and_is_even_in_its_roots(steps):
    linear, quadratic = betas("linear", steps), betas("quadratic", steps)
    np.testing.assert_allclose(quadratic[[0, -1]], linear[[0, -1]], rtol=1e-12)
    roots = np.sqrt(quadratic)
    np.testing.assert_allclose(np.diff(roots), (roots[-1] - roots[0]) / (steps - 1), rtol=1e-9)
    assert (quadratic[1:-1] < linear[1:-1]).all()


def test_quadratic_leaves_more_of_the_scan_on_the_way():
    assert Schedule.of("quadratic").alpha_bar(250) > 1.2 * Schedule.of("linear").alpha_bar(250)
