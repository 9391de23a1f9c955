"""The masked autoencoder: each pixel is the mean of what was told of it while it was hidden."""

from types import SimpleNamespace

import pytest
import torch

from uadtools.baselines import mae
from uadtools.errors import UadError
from uadtools.healing.plan import plan

MASKING = mae.MaskingConfig(square=2, hidden=0.75)


class Tells:
    """Answers 1, 2, ... of a hundred at its first, second, ... view, and keeps what it saw."""

    def __init__(self):
        self.config, self.seen = SimpleNamespace(masking=MASKING), []

    def ask(self, x):
        self.seen.append(x)
        return torch.full_like(x[:, :1], len(self.seen) / 100)


def test_a_pixel_is_the_mean_over_the_views_that_hid_it():
    """4x4 pixels are four squares of 2x2, of which each of four views sees another one: by hand."""
    model, x = Tells(), torch.rand(3, 1, 4, 4)
    made = mae.heal(model, x, mae.Options(views=4), None).healed
    for image, view in zip(model.seen, range(1, 5), strict=True):
        hidden = image[:, 1:] == 1
        assert hidden.sum(dim=(1, 2, 3)).tolist() == [12] * 3
        torch.testing.assert_close(image[:, :1], torch.where(hidden, 0, x), rtol=0, atol=0)
        only = made[0, 0][~hidden[0, 0]]  # told by all views but this one
        torch.testing.assert_close(only, torch.full((4,), (10 - view) / 300), rtol=0, atol=1e-6)


def test_a_lesion_is_never_seen_where_it_is_told():
    """A network that gives back what it sees gives nothing of a square that it is asked about."""
    model, x = Tells(), torch.ones(1, 1, 8, 8)
    model.ask = lambda image: image[:, :1]
    assert not mae.heal(model, x, mae.Options(views=5), None).healed.any()


@pytest.mark.parametrize(("squares", "views"), [(144, 2), (144, 8), (144, 7), (16, 4), (4, 100)])
def test_every_square_is_hidden_about_equally_often(squares, views):
    seen = mae._views(views, squares, MASKING)
    assert seen.shape == (views, squares)
    assert (seen.sum(axis=1) == squares // 4).all()
    times = (~seen).sum(axis=0)
    assert times.min() >= 1
    assert times.max() - times.min() <= 1


def test_too_few_views_are_refused(tiny_models):
    from uadtools.models.checkpoint import read_config

    config = read_config(tiny_models["mae"])
    assert plan(config).options[0].views == 8
    assert plan(config, views=3).evaluations((16, 16)) == 3
    sees_most = config.model_copy(update={"masking": mae.MaskingConfig(square=4, hidden=0.25)})
    assert plan(sees_most, views=4).options[0].views == 4
    with pytest.raises(UadError, match=r"--views 2: some squares are never hidden, as only 0.25 of them are"):
        plan(sees_most, views=2)


def test_squares_that_do_not_fit_are_refused(tiny_models):
    from uadtools.models.checkpoint import read_config

    data = read_config(tiny_models["mae"]).model_dump()
    for side in (3, 16):
        with pytest.raises(ValueError, match=f"masking.square {side}: does not cut slices"):
            type(read_config(tiny_models["mae"])).model_validate(data | {"masking": {"square": side}})
