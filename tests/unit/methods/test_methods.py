import dataclasses
import pkgutil
import subprocess
import sys
from typing import get_type_hints

import pytest
import torch

from uadtools import baselines, labelled, latents, methods
from uadtools.errors import UadError
from uadtools.interface.healing import Healing, Option, end

ENCODERS = ("classifier", "diffusion", "restoration", "spark")
"""Kinds of models that other methods heal with."""
NOISY = ("ddim", "ddpm", "sss")
WALKING = ("autoddpm", "encode", "thor")
"""With models of the same kind, and maps of their own or no noise."""
WITHOUT_HEALING = ("andi",)
"""Of models of diffusion, too, but what they make is a map."""
LABELLED = ("fewshot", "joined", "lsegdiff", "segment", "supervised")
"""Learnt from masks of lesions; what they make is a map, too."""
WEAK, WEAKLY = ("cfg",), ("anofpdm", "cfg", "counterfactual", "derivative", "guided")
"""Kinds of models that were told which scans are sick, and the methods that heal with these, or with a classifier."""
GUIDED = ("bernoulli", "cddpm", "distilled", "ldm", "pddpm")
RESTORING = ("disyre", "restore")
BY_ITSELF = ("blur", "threshold")
RECONSTRUCTING = ("ae", "binary", "cevae", "dae", "fanogan", "svae", "vae", "vqvae")
MASKING = ("mae",)
TELLING = ("transformer",)
"""Heals with a model of its own that knows no t."""


class Memory:
    """A denoiser that sees the same x0 behind everything, and notes when it was asked."""

    def __init__(self, x0):
        from uadtools.diffusion.schedule import Schedule

        self.schedule, self.x0, self.asked = Schedule.of("linear"), x0, []

    def predict(self, x_t, t, *, clamp=False):
        from uadtools.diffusion.process import both

        self.asked.append((t, clamp))
        return both(self.x0, "x0", x_t, t, self.schedule, clamp=clamp)


def test_names_are_the_modules_of_these_rooms():
    rooms = (methods, latents, labelled, baselines)
    found = {module.name for room in rooms for module in pkgutil.iter_modules(room.__path__) if module.name[0] != "_"}
    assert set(methods.names()) == found - {*ENCODERS}
    assert set(methods.all_kinds()) == {*ENCODERS, *LABELLED, *WEAK, *GUIDED, *RECONSTRUCTING, *MASKING, *TELLING}
    assert methods.names() == sorted(methods.names())


def test_names_are_listed_without_torch():
    rooms = "baselines, labelled, latents, methods"
    code = f"import sys; from uadtools import {rooms}; methods.names(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_method_is_of_one_of_these():
    assert set(methods.names()) == {
        *NOISY, *WALKING, *WITHOUT_HEALING, *LABELLED, *WEAKLY, *GUIDED, *RESTORING, *BY_ITSELF, *RECONSTRUCTING,
        *MASKING, *TELLING,
    }  # fmt: skip
    assert [name for name in methods.names() if not methods.needs_model(name)] == list(BY_ITSELF)
    with pytest.raises(UadError, match="no method 'magic'"):
        methods.needs_model("magic")


@pytest.mark.parametrize("name", methods.names())
def test_every_method_says_what_it_needs(name):
    module = methods.get(name)
    assert module.__name__ in {f"uadtools.{room}.{name}" for room in methods.ROOMS}
    assert methods.needs_model(name) == (name not in BY_ITSELF)
    options = module.Options()
    assert dataclasses.is_dataclass(options)
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.t = 3
    assert hasattr(options, "t") == (name in NOISY + WALKING + WITHOUT_HEALING + WEAKLY + GUIDED + RESTORING)
    hints = get_type_hints(module.Options, include_extras=True)
    for field in dataclasses.fields(options):
        told = [note for note in getattr(hints[field.name], "__metadata__", ()) if isinstance(note, Option)]
        assert f"{field.name}:" in module.Options.__doc__ or told[0].help.endswith(".")
        assert field.default is not dataclasses.MISSING
    assert "Source: " in module.__doc__


@pytest.mark.parametrize("name", [*methods.glances()])
def test_what_is_read_of_a_file_is_what_it_has_when_it_is_run(name):
    file, seen = methods.file(name), methods.glances()[name]
    assert (seen.heals, seen.trains) == (hasattr(file, "heal"), hasattr(file, "Settings"))
    assert seen.kinds == getattr(file, "KINDS", (name,) if seen.trains else ())
    hints = get_type_hints(file.Options, include_extras=True) if seen.heals else {}
    told = {
        field: (hint.__origin__, *hint.__metadata__) for field, hint in hints.items() if hasattr(hint, "__metadata__")
    }
    assert {field: (kind, option) for field, (kind, option) in seen.options.items()} == told


def test_another_name_is_refused():
    there = "ae, andi, anofpdm, autoddpm, bernoulli, binary, blur, cddpm, cevae, cfg, counterfactual, dae, ddim, "
    with pytest.raises(UadError, match=rf"no method 'gan' \(there are: {there}"):
        methods.get("gan")


def test_helpers_are_no_methods():
    with pytest.raises(UadError, match="no method 'combine'"):
        methods.get("combine")


def test_able():
    assert methods.able("diffusion") == sorted(NOISY + WALKING + WITHOUT_HEALING)
    assert all(methods.able(name) == [name] for name in RECONSTRUCTING + MASKING + GUIDED + TELLING)
    assert methods.able("restoration") == list(RESTORING)
    assert methods.able("spark") == []


@pytest.mark.parametrize("name", RECONSTRUCTING)
def test_a_method_without_noise_asks_the_model_once_and_draws_nothing(name):
    class Model:
        def ask(self, x):
            return x.mean(dim=1, keepdim=True) / 2

    module, x = methods.get(name), torch.rand(2, 3, 4, 4)
    made = module.heal(Model(), x, module.Options(), None)
    torch.testing.assert_close(made.healed, x.mean(dim=1, keepdim=True) / 2, rtol=0, atol=0)
    assert module.Options().evaluations((4, 4)) == 1


@pytest.mark.parametrize("name", NOISY)
def test_every_method_heals_to_what_the_model_sees(name):
    x0 = torch.full((2, 1, 4, 4), 0.25)
    model, module = Memory(x0), methods.get(name)
    options = module.Options(t=30)
    made = module.heal(model, torch.rand(2, 1, 4, 4), options, lambda: torch.randn(2, 1, 4, 4))
    torch.testing.assert_close(made.healed, x0, rtol=0, atol=1e-5)
    assert len(model.asked) == options.evaluations((4, 4))
    assert model.asked[0][0] == 30


def test_only_walks_limit_x0():
    """The single step's x0 is taken as it is; walks limit it on the way."""
    x0 = torch.full((1, 1, 2, 2), 1.5)
    for name, expected in (("sss", 1.5), ("ddpm", 1.0), ("ddim", 1.0)):
        module = methods.get(name)
        made = module.heal(Memory(x0), 0 * x0, module.Options(t=24), lambda: torch.randn(1, 1, 2, 2))
        torch.testing.assert_close(made.healed, torch.full_like(x0, expected), rtol=0, atol=1e-5)


def test_ddim_reads_steps_and_eta():
    from uadtools.methods import ddim

    drawn = []

    def noise():
        drawn.append(1)
        return torch.zeros(1, 1, 2, 2)

    for options, evaluations, draws in [
        (ddim.Options(t=100, steps=4), [100, 75, 50, 24], 1),
        (ddim.Options(t=100, steps=4, eta=1.0), [100, 75, 50, 24], 4),
        (ddim.Options(t=100, steps=1), [100], 1),
    ]:
        drawn.clear()
        model = Memory(torch.zeros(1, 1, 2, 2))
        ddim.heal(model, torch.zeros(1, 1, 2, 2), options, noise)
        assert [t for t, _ in model.asked] == evaluations
        assert len(drawn) == draws


@pytest.mark.parametrize(
    ("solver", "sampler"), [("ddim", "ddim"), ("dpm", "dpm_solver"), ("heun", "heun"), ("pndm", "pndm")]
)
def test_ddim_walks_with_the_solver_that_is_named(solver, sampler, monkeypatch):
    from uadtools.diffusion import samplers
    from uadtools.methods import ddim

    called, walk = [], getattr(samplers, sampler)
    monkeypatch.setattr(samplers, sampler, lambda *given, **more: called.append(more["clamp"]) or walk(*given, **more))
    x0, options = torch.zeros(1, 1, 2, 2), ddim.Options(t=100, steps=4, solver=solver)
    model = Memory(x0)
    ddim.heal(model, x0, options, lambda: torch.zeros(1, 1, 2, 2))
    assert called == [True]
    assert len(model.asked) == options.evaluations((2, 2))


def test_end_of_a_walk():
    from uadtools.diffusion.samplers import Step

    assert end(Step(t, torch.tensor(t), torch.tensor(-t)) for t in (3, 2, 1)) == 1
    assert Healing(torch.zeros(1)).maps == {}


def test_a_default_that_cannot_heal_is_refused():
    methods.check_default("pddpm", "pddpm")
    methods.check_default("spark", "spark")  # an encoder heals nothing in any case
    with pytest.raises(UadError, match=r"defaults.method sss: does not heal with models of kind 'pddpm' \(pddpm can\)"):
        methods.check_default("sss", "pddpm")
