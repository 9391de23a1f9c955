"""The transformer of codes: orders, probabilities, what is seen, and the cache."""

import pytest
import torch

from uadtools.nets.transformer import ORDERS, Cache, CodeTransformer, raster_orders

SHAPE, CODES = (3, 4), 7
STEPS = SHAPE[0] * SHAPE[1]
EVERY = torch.arange(ORDERS)


@pytest.fixture
def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = CodeTransformer(SHAPE, CODES, width=16, layers=3, heads=2, dropout=0.3).eval()
        for weight in made.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return made.requires_grad_(False)


@pytest.fixture
def sequence():
    return torch.randint(CODES, (ORDERS, STEPS), generator=torch.Generator().manual_seed(1))


def test_each_order_is_a_permutation_and_no_two_are_the_same():
    orders = raster_orders(*SHAPE)
    assert orders.shape == (ORDERS, STEPS)
    assert (orders.sort(dim=1).values == torch.arange(STEPS)).all()
    assert len({tuple(order) for order in orders.tolist()}) == ORDERS


def test_orders_begin_at_each_corner_along_rows_and_columns():
    """Neighbouring steps but for the ends of lines are neighbouring places."""
    corners = {0, SHAPE[1] - 1, STEPS - SHAPE[1], STEPS - 1}
    orders = raster_orders(*SHAPE)
    begun = [(order[0], "row" if abs(order[1] - order[0]) == 1 else "column") for order in orders.tolist()]
    assert set(begun) == {(corner, line) for corner in corners for line in ("row", "column")}
    assert (orders[1::2] == orders[::2].flip(1)).all()
    for order, (_, line) in zip(orders, begun, strict=True):
        size, apart = (SHAPE[1], 1) if line == "row" else (SHAPE[0], SHAPE[1])
        assert (order.view(-1, size).diff(dim=1).abs() == apart).all()


def test_a_grid_comes_back_from_its_order(net):
    grid = torch.arange(STEPS).view(1, *SHAPE).repeat(ORDERS, 1, 1)
    told = net.in_order(grid, EVERY)
    assert torch.equal(told, raster_orders(*SHAPE))
    assert torch.equal(net.on_grid(told, EVERY), grid)


def test_the_probabilities_of_all_images_sum_to_one():
    """Over all sequences, not each code alone: nothing that a step looks at can tell its own code."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small = CodeTransformer((2, 2), 3, width=8, layers=2, heads=2).eval().requires_grad_(False)
        for weight in small.parameters():
            torch.nn.init.normal_(weight)
    images = torch.cartesian_prod(*[torch.arange(3)] * 4)
    for order in range(ORDERS):
        told = small(images, torch.full((81,), order)).log_softmax(dim=-1)
        torch.testing.assert_close(told.exp().sum(dim=-1), torch.ones(81, 4), rtol=0, atol=1e-5)
        each = told.gather(2, images[..., None]).sum(dim=(1, 2)).exp()
        assert each.std() > 1e-4
        torch.testing.assert_close(each.sum(), torch.tensor(1.0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("step", range(STEPS))
def test_no_step_sees_its_own_code_or_a_later_one_and_all_see_those_before(net, sequence, step):
    other = sequence.clone()
    other[:, step] = (other[:, step] + 1) % CODES
    before, after = net(sequence, EVERY), net(other, EVERY)
    assert torch.equal(before[:, : step + 1], after[:, : step + 1])
    assert ((before - after)[:, step + 1 :].abs().amax(dim=2) > 1e-4).all()


def test_orders_are_told_apart_at_every_step(net, sequence):
    logits = net(sequence[:1].expand(ORDERS, -1), EVERY)
    apart = torch.pdist(logits[:, 0]).min()
    assert apart > 1e-3
    assert all(torch.pdist(logits[:, step]).min() > 1e-3 for step in range(STEPS))


@pytest.mark.parametrize("ends", [range(1, STEPS + 1), [1, 5, 6, STEPS], [7, STEPS], [STEPS]])
def test_the_cache_tells_what_the_full_pass_does(net, sequence, ends):
    cache, hidden = Cache(STEPS), sequence.clone()
    parts = []
    for end in ends:
        hidden[:, end - 1 :] = 0  # what is not yet drawn
        hidden[:, : end - 1] = sequence[:, : end - 1]
        parts.append(net(hidden, EVERY, cache, end))
    assert cache.told == STEPS
    torch.testing.assert_close(torch.cat(parts, dim=1), net(sequence, EVERY), rtol=0, atol=1e-5)


def test_slices_of_a_batch_have_orders_of_their_own(net, sequence):
    together = net(sequence, EVERY)
    for i in range(ORDERS):
        torch.testing.assert_close(together[i : i + 1], net(sequence[i : i + 1], EVERY[i : i + 1]), rtol=0, atol=1e-5)
