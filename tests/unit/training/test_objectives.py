import numpy as np
import pytest
import torch
import torch.nn.functional as F

from uadtools.interface.learning import Batch
from uadtools.interface.recipe import Recipe
from uadtools.models.kinds import kind as file_of
from uadtools.models.model import build
from uadtools.nets.resnet import seen_at
from uadtools.noise.coarse import coarse_fields
from uadtools.training.loop import Trainer


def loss(recipe, net, x0, seeds, step):
    return file_of(recipe.kind).loss(recipe, net, Batch(x0, seeds), step)


KINDS = (
    "diffusion", "pddpm", "cddpm", "vqvae", "ldm", "binary", "bernoulli", "transformer", "ae", "dae", "vae", "cevae",
    "svae", "mae", "fanogan",
)  # fmt: skip
ENDED = 10**6
"""A step after the last: f-AnoGAN's encoder is what is trained."""


@pytest.fixture(scope="module")
def recipes(tiny_recipe, tiny_recipes, guided_recipes):
    return {"diffusion": tiny_recipe, **tiny_recipes, **guided_recipes}


@pytest.fixture
def net(recipes):
    """Make a network of a kind, in which no layer is left at zero."""

    def make(kind):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = build(recipes[kind])
            for weight in made.parameters():
                if not weight.any():
                    torch.nn.init.normal_(weight, std=0.1)
        return made

    return make


def changed(recipe, **values):
    return Recipe.model_validate(recipe.model_dump() | values)


def slices(recipe, count=3):
    made = torch.rand(count, 2 * recipe.reach + 1, 16, 16, generator=torch.Generator().manual_seed(0))
    made[:, :, :, :4] = 0
    return 2 * made - 1


SEEDS = np.array([3, 2**63 - 1, 0])


@pytest.mark.parametrize("step", [0, 2, ENDED])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_batch_is_the_mean_of_its_slices(recipes, net, kind, step):
    recipe, made = recipes[kind], net(kind).eval()
    x0 = slices(recipe)
    together = loss(recipe, made, x0, SEEDS, step)
    assert together.shape == ()
    alone = [loss(recipe, made, x0[i : i + 1], SEEDS[i : i + 1], step) for i in range(3)]
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "drawn"),
    [
        ("diffusion", 1),
        ("pddpm", 1),
        ("cddpm", 1),
        ("spark", 1),
        ("ldm", 1),
        ("vqvae", 0),
        ("binary", 0),
        ("bernoulli", 1),
        ("transformer", 1),
        ("ae", 0),
        ("dae", 1),
        ("vae", 1),
        ("cevae", 1),
        ("svae", 1),
        ("mae", 1),
    ],
)
def test_what_is_drawn_follows_from_the_seed(recipes, net, kind, drawn):
    recipe, made = recipes[kind], net(kind).eval()
    one, again, other = (loss(recipe, made, slices(recipe), SEEDS // i, 0).item() for i in (1, 1, 2))
    assert one == again
    assert (one != other) == drawn


def test_an_autoencoder_is_compared_with_what_it_saw(recipes, net):
    x0, made = slices(recipes["ae"]), net("ae")
    for name, distance in (("l1", F.l1_loss), ("l2", F.mse_loss)):
        recipe = changed(recipes["ae"], training=recipes["ae"].training.model_dump() | {"loss": name})
        torch.testing.assert_close(loss(recipe, made, x0, SEEDS, 0), distance(made(x0), x0), rtol=0, atol=0)


def test_a_denoiser_sees_noise_inside_the_brain_and_is_compared_with_the_clean_slice_there(recipes):
    recipe, seen = changed(recipes["dae"], coarse={"resolution": 4, "std": 0.3}), []
    x0 = slices(recipe)

    def net(x):
        seen.append(x)
        return 5 * torch.ones_like(x)

    made = loss(recipe, net, x0, SEEDS, 0)
    brain = (x0 > -1).numpy()
    noise = coarse_fields((16, 16), SEEDS, resolution=4, std=0.3)[:, None]
    np.testing.assert_allclose(seen[0].numpy(), x0.numpy() + 2 * noise * brain, rtol=0, atol=1e-6)
    np.testing.assert_allclose(made.item(), (((5 - x0.numpy()) ** 2) * brain).mean(), rtol=1e-5, atol=0)
    assert brain.mean() == 0.75


def test_a_context_encoder_tells_whole_slices_from_painted_ones(recipes, net):
    from uadtools.baselines.cevae import SquaresConfig, painted

    recipe, made, x0 = recipes["cevae"], net("cevae"), slices(recipes["cevae"])
    seen = painted(recipe.squares, x0, SEEDS)
    beside = loss(recipes["vae"], net("vae"), x0, SEEDS, 0)
    of_context = F.mse_loss(made.decoder(made.encode(seen)[0]), x0)
    for context in (0.0, 0.25, 1.0):
        found = loss(changed(recipe, context=context), made, x0, SEEDS, 0)
        torch.testing.assert_close(found, (1 - context) * beside + context * of_context, rtol=1e-5, atol=1e-6)
    one = painted(SquaresConfig(count=(1, 1), side=(0.25, 0.25)), x0, SEEDS)
    for before, after in zip(x0[:, 0], one[:, 0], strict=True):
        rows, columns = torch.nonzero(before != after, as_tuple=True)
        assert (rows.max() - rows.min(), columns.max() - columns.min(), len(rows)) == (3, 3, 16)
        assert len(after[rows, columns].unique()) == 1
        assert after.abs().max() <= 1
    assert (seen != x0).any(dim=3).any(dim=2).all()


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_a_masked_autoencoder_is_judged_where_it_saw_nothing(recipes, distance):
    recipe = changed(recipes["mae"], training=recipes["mae"].training.model_dump() | {"loss": distance})
    x0, shown = slices(recipe), []

    def net(x):
        shown.append(x)
        return torch.zeros_like(x[:, :1])

    made = loss(recipe, net, x0, SEEDS, 0)
    hidden = shown[0][:, 1:] == 1
    assert ((shown[0][:, 1:] == -1) == ~hidden).all()
    torch.testing.assert_close(shown[0][:, :1], torch.where(hidden, 0, x0), rtol=0, atol=0)
    squares = hidden.view(3, 4, 4, 4, 4).float().mean(dim=(2, 4))  # 4 pixels a side, 12 of 16 hidden
    assert set(squares.unique().tolist()) == {0.0, 1.0}
    assert (squares.sum(dim=(1, 2)) == 12).all()
    assert not torch.equal(hidden[0], hidden[1])
    expected = (x0.abs() if distance == "l1" else x0**2)[hidden].mean()
    torch.testing.assert_close(made, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["vae", "svae"])
def test_a_vae_pays_for_latents_that_are_not_normal(recipes, net, kind):
    """Checked against torch.distributions; the middle slice is what is compared."""
    x0, made = slices(recipes[kind]), net(kind)
    mean, log_variance = made.encode(x0)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    divergence = torch.distributions.kl_divergence(posterior, prior).mean()
    free, paid = (loss(changed(recipes[kind], beta=beta), made, x0, SEEDS, 0) for beta in (0.0, 2.0))
    torch.testing.assert_close(paid - free, 2 * divergence, rtol=1e-4, atol=1e-6)
    with torch.no_grad():  # so sure that nothing is left of the draw
        made.encode = lambda x: (mean, torch.full_like(mean, -60))
        sure = loss(changed(recipes[kind], beta=0), made, x0, SEEDS, 0)
    middle = x0[:, recipes[kind].reach, None]
    torch.testing.assert_close(sure, F.mse_loss(made.decoder(mean), middle), rtol=0, atol=1e-6)


def taught(net, made):
    """Which parts of a network get gradients from a loss."""
    net.zero_grad(set_to_none=True)
    made.backward()
    parts = {name: [w.grad is not None for w in part.parameters()] for name, part in net.named_children()}
    assert all(all(each) or not any(each) for each in parts.values())
    return {name for name, each in parts.items() if all(each)}


def test_critic_and_generator_take_turns_and_then_comes_the_encoder(recipes, net):
    recipe, made = recipes["fanogan"], net("fanogan")
    assert (recipe.first_usable, recipe.gan.critic, recipe.training.steps) == (6, 2, 12)
    told = [taught(made, loss(recipe, made, slices(recipe), SEEDS, step)) for step in range(8)]
    assert told == [{"critic"}, {"critic"}, {"generator"}] * 2 + [{"encoder"}] * 2


def test_the_critic_is_penalised_for_slopes_that_are_not_1(recipes, net):
    """A linear critic has the same slope everywhere."""
    recipe, made = recipes["fanogan"], net("fanogan")
    x0 = slices(recipe)
    weight = torch.rand(1, 256) / 10

    class Linear(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1) @ weight.T

    made.critic = Linear()
    free, paid = (
        loss(changed(recipe, gan=recipe.gan.model_dump() | {"penalty": p}), made, x0, SEEDS, 0) for p in (1, 3)
    )
    assert (paid - free).item() == pytest.approx(2 * (weight.norm().item() - 1) ** 2, rel=1e-4)


def test_the_generator_is_told_what_the_critic_thinks(recipes, net):
    recipe, made = recipes["fanogan"], net("fanogan")
    drawn = [np.random.default_rng((1, int(seed))).standard_normal(6, dtype=np.float32) for seed in SEEDS]
    expected = -made.critic(made.generator(torch.from_numpy(np.stack(drawn)))).mean()
    torch.testing.assert_close(loss(recipe, made, slices(recipe), SEEDS, 2), expected, rtol=0, atol=1e-6)


def test_the_encoder_is_compared_by_pixels_and_by_the_critics_features(recipes, net):
    made, x0 = net("fanogan"), slices(recipes["fanogan"])
    for weight in (0.0, 3.0):
        recipe = changed(recipes["fanogan"], gan=recipes["fanogan"].gan.model_dump() | {"features": weight})
        seen, wanted = made.critic.features(made(x0)), made.critic.features(x0)
        expected = F.mse_loss(made(x0), x0) + weight * F.mse_loss(seen, wanted)
        torch.testing.assert_close(loss(recipe, made, x0, SEEDS, ENDED), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_near(recipes, net, kind):
    recipe, made = recipes[kind], net(kind).eval()
    exact, rough = (
        Trainer(recipe, None, None, 0, torch.device("cpu"), precision).loss(made, Batch(slices(recipe), SEEDS), 0)
        for precision in (torch.float32, torch.bfloat16)
    )
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=0.05)
    assert rough.item() != exact.item()


class Zero(torch.nn.Module):
    """A network that sees 0 everywhere, and keeps what it was shown."""

    def forward(self, x_t, t):
        self.shown, self.t = x_t, t
        return torch.zeros_like(x_t)


def patched(recipe, **training):
    return changed(recipe, training=recipe.training.model_dump() | training)


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_one_patch_of_each_slice_is_noised_and_its_loss_is_that_in_the_patch(recipes, distance):
    recipe, net, x0 = patched(recipes["pddpm"], loss=distance), Zero(), slices(recipes["pddpm"])
    lost = loss(recipe, net, x0, SEEDS, 0)
    noised = net.shown != x0
    expected = []
    for x, inside in zip(x0, noised, strict=True):
        rows, columns = (np.flatnonzero(inside[0].any(dim=axis)) for axis in (1, 0))
        assert (len(rows), len(columns)) == (8, 8)
        assert rows[0] % 8 == columns[0] % 8 == 0
        square = x[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        expected.append(square.abs().mean() if distance == "l1" else (square**2).mean())
    torch.testing.assert_close(lost, torch.stack(expected).mean(), rtol=1e-5, atol=0)


def test_the_loss_may_be_that_in_all_of_the_slice(recipes):
    recipe, x0 = patched(recipes["pddpm"], loss_on="image"), slices(recipes["pddpm"])
    torch.testing.assert_close(loss(recipe, Zero(), x0, SEEDS, 0), (x0**2).mean(), rtol=1e-5, atol=0)


def corners(recipe, count=200):
    net, x0 = Zero(), torch.full((count, 1, 16, 16), -1.0)
    loss(recipe, net, x0, np.arange(count), 0)
    noised = (net.shown != x0)[:, 0]
    sides = noised.any(dim=2).sum(dim=1)
    tops, lefts = (noised.any(dim=axis).int().argmax(dim=1) for axis in (2, 1))
    return {tuple(c) for c in torch.stack([tops, lefts], dim=1).tolist()}, set(sides.tolist())


def test_patches_lie_on_their_grid_or_anywhere(recipes):
    on_grid, sides = corners(recipes["pddpm"])
    assert (on_grid, sides) == ({(0, 0), (0, 8), (8, 0), (8, 8)}, {8})
    anywhere, _ = corners(patched(recipes["pddpm"], positions="random"))
    assert len(anywhere) > 60
    assert max(max(corner) for corner in anywhere) == 8


def test_patches_may_have_several_sizes_and_overlap(recipes):
    on_grid, sides = corners(changed(recipes["pddpm"], patches={"sizes": (8, 12), "stride": 4}))
    assert sides == {8, 12}
    assert on_grid == {(a, b) for a in (0, 4, 8) for b in (0, 4, 8)}


def test_cddpm_is_told_of_the_clean_slice_and_its_encoder_learns(recipes, net):
    recipe, made = recipes["cddpm"], net("cddpm")
    loss(recipe, made, slices(recipe), SEEDS, 0).backward()
    assert all(p.grad is not None and p.grad.any() for p in made.encoder.parameters())


def test_hidden_squares_are_told_from_the_others(recipes, net):
    """What the loss says does not depend on what is painted where the image is seen."""
    recipe, made = recipes["spark"], net("spark")
    shown = {}

    def paint(x, seen):
        shown["seen"] = seen
        return torch.nan_to_num(torch.where(seen_at(x, seen), torch.tensor(1e6), torch.tensor(0.0)))

    made.forward = paint
    x0 = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    lost = loss(recipe, made, x0, SEEDS, 0)
    assert shown["seen"].shape == (3, 1, 2, 2)
    assert shown["seen"].sum(dim=(1, 2, 3)).tolist() == [1, 1, 1]  # 35% of four
    torch.testing.assert_close(
        lost, torch.tensor(63 / 64), rtol=1e-3, atol=0
    )  # the squares have variance 1 (of 64 pixels)


def test_gradients_pass_the_codes_by_and_the_codes_follow_in_training_alone(recipes, net):
    recipe, made = recipes["vqvae"], net("vqvae")
    before = made.codebook.codes.clone()
    loss(recipe, made.eval(), slices(recipe), SEEDS, 0)
    assert torch.equal(made.codebook.codes, before)
    loss(recipe, made.train(), slices(recipe), SEEDS, 0).backward()
    assert not torch.equal(made.codebook.codes, before)
    assert all(p.grad is not None and p.grad.any() for p in made.encoder.parameters())


def test_the_commitment_keeps_latents_near_their_codes(recipes, net):
    made = net("vqvae").eval()
    x0 = slices(recipes["vqvae"])
    lost = [loss(changed(recipes["vqvae"], commitment=c), made, x0, SEEDS, 0) for c in (0.0, 2.0)]
    apart = torch.nn.functional.mse_loss(made.encode(x0), made.quantise(x0).codes)
    torch.testing.assert_close(lost[1] - lost[0], 2 * apart, rtol=1e-4, atol=1e-6)


def test_gradients_pass_bits_by(recipes, net):
    """A straight-through estimate: the decoder's gradient at the bits times the slope of the probabilities."""
    recipe, made, x0, seen = recipes["binary"], net("binary"), slices(recipes["binary"]), []
    decode = made.decode
    made.decode = lambda z: decode(seen.append(z) or z.retain_grad() or z)
    lost = loss(recipe, made, x0, SEEDS, 0)
    lost.backward()
    chance = made.logits(x0).sigmoid()
    torch.testing.assert_close(seen[0], made.encode(x0), rtol=0, atol=1e-6)
    torch.testing.assert_close(lost, F.mse_loss(decode(made.encode(x0)), x0), rtol=0, atol=1e-6)
    expected = (seen[0].grad * chance * (1 - chance)).sum(dim=(0, 2, 3))
    torch.testing.assert_close(made.encoder[-1].bias.grad, expected, rtol=1e-4, atol=1e-7)


def test_flips_are_told_by_cross_entropy(recipes, net):
    """As many as the schedule flips by t, whatever a network without an opinion says."""
    recipe, made, shown = recipes["bernoulli"], net("bernoulli"), []

    def unet(z_t, t):
        shown.append((z_t, t))
        return torch.full_like(z_t, -1.0)

    made.forward = unet
    x0 = slices(recipe).repeat(40, 1, 1, 1)
    lost = loss(recipe, made, x0, np.arange(120), 0)
    (z_t, t), z0 = shown[0], made.encode(x0)
    share = (z_t != z0).float().mean()
    expected = -(share * torch.tensor(-1.0).sigmoid().log() + (1 - share) * torch.tensor(1.0).sigmoid().log())
    torch.testing.assert_close(lost, expected, rtol=1e-5, atol=1e-6)
    assert t.min() >= 0
    assert t.max() < 300
    assert len(t.unique()) > 80
    rate = (1 - np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000))[t.numpy()]) / 2
    assert share.item() == pytest.approx(rate.mean(), abs=0.01)


@pytest.mark.parametrize("kind", ["ldm", "bernoulli"])
def test_diffusion_of_latents_leaves_its_autoencoder_alone(recipes, net, kind):
    made = net(kind)
    loss(recipes[kind], made, slices(recipes[kind]), SEEDS, 0).backward()
    assert all(p.grad is None for p in made.autoencoder.parameters())
    assert all(p.grad is not None for p in made.unet.parameters())
