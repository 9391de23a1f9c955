"""Reading ahead, and healing small scans together."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from uadtools.cohort.parallel import batched, prefetched
from uadtools.errors import UadError
from uadtools.healing.ensemble import Member, heal_with, slices_at_once, slices_of
from uadtools.healing.heal import heal, heal_together
from uadtools.healing.plan import plan
from uadtools.models.model import load_model
from uadtools.volume.stream import Study


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model, device="cpu", precision="fp32")


def cut(study, first, last):
    """Empty a study's slices outside of first to last, and change the others so that no two studies are alike."""
    scan = study.need("scan")
    data = np.zeros_like(scan.data)
    data[..., first:last] = scan.data[..., first:last] * (1 - first / 50)
    return Study(f"{study.name}{first}", {"scan": replace(scan, data=data)})


def failing(items, error):
    yield from items
    raise error


def test_the_next_item_is_made_while_one_is_worked_on_and_no_further():
    made = []
    second = threading.Event()

    def items():
        for number in range(4):
            made.append(number)
            if number == 1:
                second.set()
            yield number

    coming = prefetched(items())
    assert next(coming) == 0
    assert second.wait(5)
    time.sleep(0.1)
    assert made == [0, 1]
    assert list(coming) == [1, 2, 3]
    assert list(prefetched([])) == []


def test_what_goes_wrong_ahead_is_raised_in_its_turn():
    coming = prefetched(failing([1, 2], UadError("third")))
    assert [next(coming), next(coming)] == [1, 2]
    with pytest.raises(UadError, match="third"):
        next(coming)


@pytest.mark.parametrize(
    ("sizes", "enough", "expected"),
    [
        ([5, 5, 5], 1, [[5], [5], [5]]),
        ([5, 5, 5], 6, [[5, 5], [5]]),
        ([1, 2, 3, 4], 6, [[1, 2, 3], [4]]),
        ([9], 100, [[9]]),
        ([], 3, []),
    ],
)
def test_items_are_gathered_until_they_are_enough(sizes, enough, expected):
    assert list(batched(sizes, lambda size: size, lambda: enough)) == expected


def test_a_fault_comes_after_all_that_came_before_it():
    groups = batched(failing([1, 2], UadError("third")), lambda size: size, lambda: 10)
    assert next(groups) == [1, 2]
    with pytest.raises(UadError, match="third"):
        next(groups)


def test_an_item_without_a_size_is_a_fault_too():
    def size(item):
        if item == 2:
            raise UadError("not prepared")
        return item

    groups = batched([1, 2, 3], size, lambda: 10)
    assert next(groups) == [1]
    with pytest.raises(UadError, match="not prepared"):
        next(groups)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_scans_healed_together_are_healed_as_by_themselves(model, phantom, batch):
    scans = [cut(phantom, first, last) for first, last in ((1, 4), (2, 7), (3, 4))]
    how = plan(model.config, t=(150, 250), samples=2)
    together = heal_together(scans, model, how, seed=3, batch=batch)
    for scan, made in zip(scans, together, strict=True):
        alone = heal(scan, model, how, seed=3)
        assert made.name == scan.name
        for role in ("healed", "spread"):
            np.testing.assert_allclose(made.images[role].data, alone.images[role].data, rtol=0, atol=1e-5)


def test_neighbours_are_those_of_the_same_scan(tiny_models, phantom):
    """A model that sees several slices at once never sees those of another scan."""
    model = load_model(tiny_models["svae"], device="cpu", precision="fp32")
    assert model.config.reach
    scans = [cut(phantom, 1, 4), cut(phantom, 4, 7)]
    for scan, made in zip(scans, heal_together(scans, model, batch=16), strict=True):
        np.testing.assert_allclose(made.product.data, heal(scan, model).product.data, rtol=0, atol=1e-6)


def test_several_scans_and_several_models(model, phantom):
    scans = [cut(phantom, 1, 4), cut(phantom, 2, 7)]
    members = [Member(model, plan(model.config, t=(t,), samples=1)) for t in (100, 300)]
    for scan, made in zip(scans, heal_with(scans, members), strict=True):
        (alone,) = heal_with([scan], members)
        np.testing.assert_allclose(made.product.data, alone.product.data, rtol=0, atol=1e-5)


def test_small_scans_share_a_batch(model, phantom):
    members = [Member(model, plan(model.config))]
    assert slices_of(cut(phantom, 2, 5), members) == 3
    assert slices_at_once(members, 24) == 24
    assert slices_at_once(members, 0) == 16
    alone = [Member(None, plan(method="blur"))]
    assert slices_of(phantom, alone) == slices_at_once(alone, 0) == 1


def test_a_scan_that_was_not_prepared_has_no_slices_to_heal(model, phantom):
    scan = phantom.need("scan")
    with pytest.raises(UadError, match="not prepared"):
        slices_of(Study("odd", {"scan": replace(scan, data=9 * scan.data)}), [Member(model, plan(model.config))])
