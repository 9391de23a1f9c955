import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from uadtools.models.checkpoint import DEFAULT, file_hash, read_config, read_tensors, save_model, write_tensors
from uadtools.models.config import ModelConfig
from uadtools.models.model import build
from uadtools.training.recipe import names
from uadtools.volume.io import save

GOLDEN = Path(__file__).parents[1] / "golden" / "data"
GRID = ["--set", "grid.shape=[32,32,4]"]
IMPORT = ["import", "--from", "anoddpm", "a.pt", "-o", "ours.safetensors", *GRID]
PICKLED = "save the plain weights: torch.save(model.state_dict(), FILE)"


def state_of(name):
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return {key[4:]: torch.from_numpy(file[key]) for key in file.files if key.startswith("sd::")}


@pytest.fixture(scope="module")
def state():
    """What AnoDDPM saves of a small network."""
    return state_of("06a_anoddpm_unet_tiny")


@pytest.fixture(scope="module")
def guided():
    """The same of pDDPM, whose names are guided-diffusion's."""
    return state_of("06c_pddpm_unet_tiny_patched_ss")


@pytest.fixture
def saved(here, state):
    """The checkpoint a.pt."""
    torch.save(state, here / "a.pt")
    return here / "a.pt"


def changed(state, **shapes):
    return {key: torch.zeros(shapes[key]) if key in shapes else value for key, value in state.items()}


class TestList:
    def test_lists_the_bundled_models_with_the_default_first_and_the_recipes(self, uad):
        found = uad("models", "list", "--json")
        assert (found.status, found.err) == (0, "")
        models, others = found.json[:5], found.json[5:]
        said = [(row["name"], row["kind"], row["method"]) for row in models]
        restoring = [(name, "restoration", "restore") for name in ("any-small", "flair-small", "headct", "t1-small")]
        assert said == [*restoring[:3], ("t1-ddpm", "diffusion", "sss"), restoring[3]]
        assert all(row["bytes"] > 1e6 and "CC BY-SA" in row["licence"] for row in models)
        assert [(row["name"], row["what"]) for row in others] == [(name, "recipe") for name in names()]

    def test_shows_a_line_for_each(self, uad):
        found = uad("models", "list")
        head, *lines = found.out.decode().splitlines()
        assert head.split() == ["name", "kind", "method", "size", "licence"]
        assert lines[0].split()[:4] == ["any-small", "model", "restoration", "restore"]
        assert lines[3].split()[:6] == ["t1-ddpm", "model", "diffusion", "sss", "15.2", "MB"]
        assert len(lines) == 5 + len(names())


class TestInfo:
    def test_shows_the_bundled_models_card(self, uad):
        found = uad("models", "info")
        assert (found.status, found.err) == (0, "")
        said = found.out.decode()
        for words in (
            "any-small", "restoration; heals with: disyre, restore", "96x96x96 voxels of 2 x 2 x 2 mm",
            "percentile:1,99", "multipliers 1,2,3,4", "reach 3", "recipe any-small", "CC BY-SA",
        ):  # fmt: skip
            assert words in said
        assert found.out == uad("models", "info", DEFAULT).out

    def test_shows_the_card_of_a_bundled_model_by_its_name(self, uad):
        said = uad("models", "info", "t1-ddpm").out.decode()
        for words in (
            "t1-ddpm", "heals with: andi, autoddpm, ddim, ddpm", "96x96x96 voxels of 2 x 2 x 2 mm", "percentile:1,99",
            "7,598,596", "multipliers 1,2,3", "steps 1000", "sss 300 0.132", "CC BY-SA",
        ):  # fmt: skip
            assert words in said

    @pytest.mark.parametrize("name", ["any-small", "flair-small", "headct", "t1-ddpm", "t1-small"])
    def test_the_card_is_laid_out_in_two_columns(self, uad, name):
        lines = uad("models", "info", name).out.decode().splitlines()
        assert max(map(len, lines)) <= 110
        assert all(line[12] == " " and line[13] != " " for line in lines)

    def test_says_the_same_as_json(self, uad, tiny_guided):
        path = tiny_guided["cddpm"]
        found = uad("models", "info", path, "--json").json
        assert found["methods"] == ["cddpm"]
        assert (found["file"], found["hash"], found["bytes"]) == (str(path), file_hash(path), path.stat().st_size)
        assert found["parameters"] == sum(weight.numel() for weight in build(read_config(path)).parameters())
        assert found.items() >= read_config(path).model_dump(mode="json").items()

    def test_says_what_a_model_is_scored_by_whatever_its_thresholds_were_found_with(
        self, uad, tiny_guided, measured_model
    ):
        """Thresholds are of the metric in the model's defaults, and where there are none that metric says nothing."""
        for path, metric in ((tiny_guided["restoration"], "product"), (measured_model, "relative")):
            assert uad("models", "info", path, "--json").json["scored_by"] == metric
            said = uad("models", "info", path).out.decode()
            assert f"score        {metric};" in said
            assert "metric l1" not in said
        assert (
            "thresholds   sss 300 0.132, sss 200,300,400 x4 0.124; of metric l1"
            in uad("models", "info", "t1-ddpm").out.decode()
        )

    def test_shows_every_kind(self, uad, tiny_models, tiny_guided):
        for kind, path in (tiny_models | tiny_guided).items():
            found = uad("models", "info", path)
            assert found.status == 0, found.err
            ways = {"spark": "nothing by itself", "restoration": "disyre, restore"}.get(kind, kind)
            assert f"{kind}; heals with: {ways}\n" in found.out.decode()

    @pytest.mark.parametrize("words", [["list"], ["info"], ["info", "--json"]])
    def test_does_not_load_torch(self, words):
        code = "import sys; from uadtools.cli.models import COMMAND; "
        code += f"COMMAND.call({words}); sys.exit('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def test_refuses_what_is_no_model(self, uad, saved):
        uad("models", "info", "t1-smal").fails("models", 1, "t1-smal: No such file", f"bundled: {DEFAULT}")
        uad("models", "info", saved).fails("models", 1, "a pickle", "refused")
        Path("text").write_text("a few words")
        uad("models", "info", "text").fails("models", 1, "not a model file")
        Path("shapeless").write_bytes((12).to_bytes(8, "little") + b'{"a":  "b" }')
        uad("models", "info", "shapeless").fails("models", 1, "not a model file")


class TestCheck:
    def test_every_kind_is_sound(self, uad, tiny_model, tiny_models, tiny_guided):
        for path in (tiny_model, *tiny_models.values(), *tiny_guided.values()):
            found = uad("models", "check", path)
            assert (found.status, found.out.decode(), found.err) == (0, f"{path}: ok\n", "")

    def test_can_be_quiet(self, uad, tiny_model):
        found = uad("models", "check", "-q", tiny_model)
        assert (found.status, found.out, found.err) == (0, b"", "")

    def broken(self, tiny_model, **changes):
        weights = read_tensors(tiny_model) | changes
        save_model(Path("broken.safetensors"), read_config(tiny_model), weights, half=False)
        return Path("broken.safetensors")

    def test_tells_weights_that_are_not_finite(self, uad, tiny_model):
        path = self.broken(tiny_model, **{"first.bias": torch.full((8,), float("nan"))})
        uad("models", "check", path).fails("models", 1, "broken.safetensors: first.bias holds NaN or infinity")

    def test_tells_an_answer_that_is_not_finite(self, uad, tiny_model):
        path = self.broken(tiny_model, **{"out_conv.weight": torch.full((1, 8, 3, 3), 3e38)})
        uad("models", "check", path).fails("models", 1, "it answers NaN or infinity to an empty slice")

    def test_tells_weights_that_do_not_fit(self, uad, tiny_model):
        path = self.broken(tiny_model, **{"first.bias": torch.zeros(7)})
        uad("models", "check", path).fails("models", 1, "do not fit its settings", "first.bias")

    def test_tells_a_damaged_file(self, uad, tiny_model):
        Path("short.safetensors").write_bytes(tiny_model.read_bytes()[:-9])
        uad("models", "check", "short.safetensors").fails("models", 1, "damaged or cut short")


class TestImport:
    def test_makes_a_sound_model_and_says_what_it_assumes(self, uad, saved):
        made = uad("models", *IMPORT)
        assert (made.status, made.out) == (0, b"")
        assert "uad-models: assumed: network.heads = 2" in made.lines
        assert "uad-models: assumed: noise.scale = raw" in made.lines
        assert "uad-models: assumed: defaults.t = [250]" in made.lines
        assert not [line for line in made.lines if "network.base" in line or "grid.shape" in line]
        able = "andi, autoddpm, ddim, ddpm, encode, sss, thor"
        assert made.lines[-1] == f"uad-models: ours.safetensors: of kind diffusion, heals with {able}"
        assert uad("models", "check", "ours.safetensors").status == 0
        config = read_config(Path("ours.safetensors"))
        assert (config.name, config.licence, config.network.base) == ("ours", "not stated", 32)
        assert config.training == {"program": "anoddpm", "checkpoint": "a.pt", "sha256": file_hash(saved, 64)}
        stored = read_tensors(Path("ours.safetensors"))
        assert {value.dtype for value in stored.values()} == {torch.float32}

    def test_writes_json(self, uad, saved):
        made = uad("models", *IMPORT, "--json", "--quiet")
        assert (made.status, made.err) == (0, "")
        assert (made.json["model"], made.json["kind"]) == ("ours.safetensors", "diffusion")
        assert made.json["assumed"]["network.sinusoid"] == "sin_cos"
        assert made.json["notes"] == []

    def test_takes_what_the_user_says(self, uad, saved):
        Path("own.toml").write_text('name = "mine"\n[network]\nheads = 1\n[noise]\nkind = "gaussian"\n')
        made = uad("models", *IMPORT, "--config", "own.toml", "--set", "network.heads=4", "--licence", "CC0")
        assert made.status == 0, made.err
        config = read_config(Path("ours.safetensors"))
        assert (config.name, config.licence, config.network.heads, config.noise.kind) == ("mine", "CC0", 4, "gaussian")
        assert "network.heads" not in made.err
        assert "noise" not in made.err  # nothing is left of the simplex noise that is not wanted

    def test_half_stores_16_bits_or_says_that_it_cannot(self, uad, state):
        torch.save(state, "a.pt")
        assert uad("models", *IMPORT, "--half").status == 0
        assert {value.dtype for value in read_tensors(Path("ours.safetensors")).values()} == {torch.float16}
        torch.save(state | {"out.2.bias": torch.full((1,), 1e5)}, "a.pt")
        uad("models", *IMPORT, "--half", "--force").fails("models", 1, "--half: out_conv.bias does not fit in 16 bits")

    def test_reads_safetensors_and_other_prefixes(self, uad, state):
        write_tensors(Path("a.safetensors"), {f"module.{key}": value for key, value in state.items()}, {})
        made = uad("models", "import", "--from", "anoddpm", "a.safetensors", "-o", "ours.safetensors", *GRID)
        assert made.status == 0, made.err

    def test_replaces_nothing_unasked(self, uad, saved):
        Path("ours.safetensors").write_text("precious")
        uad("models", *IMPORT).fails("models", 1, "ours.safetensors: exists")
        assert Path("ours.safetensors").read_text() == "precious"
        assert uad("models", *IMPORT, "--force").status == 0

    def test_writes_safetensors_only(self, uad, saved):
        uad("models", "import", "--from", "anoddpm", "a.pt", "-o", "ours.pt").fails(
            "models", 1, "a model file ends in .safetensors"
        )


class TestSettingsOfTheUser:
    def test_an_unknown_one_is_an_error(self, uad, saved):
        uad("models", *IMPORT, "--set", "network.depth=3").fails("models", 1, "network.depth: unknown key")
        uad("models", *IMPORT, "--set", "training.steps=3").fails("models", 1, "training: unknown key")
        uad("models", *IMPORT, "--set", "network=3").fails("models", 1, "network")
        uad("models", *IMPORT, "--set", "heads").fails("models", 1, "expected KEY=VALUE")

    def test_one_that_contradicts_the_checkpoint_is_an_error(self, uad, saved):
        said = uad("models", *IMPORT, "--set", "network.base=64")
        said.fails("models", 1, "network.base = 64: a.pt says 32 (leave it out)")
        uad("models", *IMPORT, "--set", "network.patch=2").fails("models", 1, "network.patch = 2: a.pt says 1")
        assert uad("models", *IMPORT, "--set", "network.base=32").status == 0

    def test_one_that_does_not_fit_is_an_error(self, uad, saved):
        uad("models", *IMPORT, "--set", "network.heads=5").fails("models", 1, "heads = 5 must divide")
        uad("models", *IMPORT, "--set", "grid.shape=[33,32,4]").fails("models", 1, "33 is no multiple of 2")

    def test_a_file_of_them_must_be_readable(self, uad, saved):
        uad("models", *IMPORT, "--config", "none.toml").fails("models", 1, "none.toml: No such file")
        Path("bad.toml").write_text("heads = ")
        uad("models", *IMPORT, "--config", "bad.toml").fails("models", 1, "bad.toml: not readable settings")


class Code:
    """Makes a folder where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


class TestFilesThatAreNoCheckpoints:
    def refused(self, uad, *words):
        uad("models", *IMPORT).fails("models", 1, "a.pt: ", *words)
        assert not Path("ours.safetensors").exists()
        assert not Path("pwned").exists()

    def test_code_is_not_run(self, uad, state):
        torch.save({"ema": state, "args": Code()}, "a.pt")
        self.refused(uad, "refused, because it holds posix.mkdir", PICKLED)
        torch.save({"ema": state, "args": Code()}, "a.pt", _use_new_zipfile_serialization=False)
        self.refused(uad, "refused", PICKLED)
        Path("a.pt").write_bytes(pickle.dumps(Code()))
        self.refused(uad, "not a checkpoint of torch.save")

    def test_a_whole_module_is_refused(self, uad):
        torch.save(torch.nn.Linear(2, 2), "a.pt")
        self.refused(uad, "refused, because it holds torch.nn.modules.linear.Linear", PICKLED)

    @pytest.mark.parametrize("zipped", [True, False])
    def test_one_that_is_cut_short(self, zipped, uad, state):
        torch.save(state, "a.pt", _use_new_zipfile_serialization=zipped)
        Path("a.pt").write_bytes(Path("a.pt").read_bytes()[:5000])
        self.refused(uad, "not a checkpoint of torch.save, or cut short")

    @pytest.mark.parametrize("contents", [b"", b"a few words", b"PK\x03\x04"])
    def test_something_else(self, contents, uad):
        Path("a.pt").write_bytes(contents)
        self.refused(uad, "not a checkpoint of torch.save")

    def test_none_at_all(self, uad, here):
        self.refused(uad, "No such file")
        (here / "a.pt").mkdir()
        self.refused(uad, "Is a directory")

    @pytest.mark.parametrize("contents", [{}, [1, 2], {"epoch": 3, "state_dict": {}}, torch.zeros(3)])
    def test_one_without_weights(self, contents, uad):
        torch.save(contents, "a.pt")
        self.refused(uad, "no ")


class TestNetworksThatWeDoNotHave:
    def refused(self, uad, program, state, *words):
        torch.save(state, "a.pt")
        said = uad("models", "import", "--from", program, "a.pt", "-o", "ours.safetensors", *GRID)
        said.fails("models", 1, "a.pt: ", *words)
        assert not Path("ours.safetensors").exists()

    def test_the_wrong_program_is_told(self, uad, state, guided):
        self.refused(uad, "pddpm", state, "no network of pddpm in it (it looks like one of --from anoddpm)")
        looks = "it looks like one of --from guided-diffusion or pddpm or cddpm"
        self.refused(uad, "anoddpm", guided, looks)
        self.refused(uad, "monai", guided, looks)

    def test_missing_unknown_and_misshapen_weights_are_named(self, uad, state):
        less = {key: value for key, value in state.items() if key != "up.3.0.out_layers.3.weight"}
        self.refused(uad, "anoddpm", less, "without up.3.0.out_conv.weight")
        self.refused(uad, "anoddpm", state | {"extra.weight": torch.zeros(1)}, "with unknown extra.weight")
        bent = changed(state, **{"middle.1.proj_out.bias": (7,)})
        self.refused(uad, "anoddpm", bent, "middle.1.proj.bias (7,) instead of (64,)")
        none = {key: value for key, value in state.items() if not key.startswith("out.2")}
        self.refused(uad, "anoddpm", none, "without out_conv.weight")

    def test_weights_that_are_not_finite(self, uad, state):
        self.refused(uad, "anoddpm", state | {"out.2.bias": torch.tensor([np.inf])}, "out_conv.bias holds NaN")

    def test_colour_and_super_resolution(self, uad, guided):
        for channels in (2, 3, 6):
            shapes = {"input_blocks.0.0.weight": (32, channels, 3, 3)}
            self.refused(uad, "guided-diffusion", changed(guided, **shapes), f"takes {channels} channels")

    def test_a_second_output_that_is_no_variance(self, uad, guided):
        shapes = {"out.2.weight": (2, 32, 3, 3), "out.2.bias": (2,)}
        self.refused(uad, "pddpm", changed(guided, **shapes), "gives 2 channels")

    def test_class_conditional(self, uad, guided):
        more = {"label_emb.weight": torch.zeros(10, 128)}
        self.refused(uad, "guided-diffusion", guided | more, "a class-conditional network")

    def test_conditions_and_their_encoders(self, uad, guided):
        conditioned = state_of("06d_cddpm_unet_tiny")
        self.refused(uad, "pddpm", conditioned, "--from cddpm reads it")
        self.refused(uad, "cddpm", guided, "--from pddpm --set kind=diffusion reads it")
        self.refused(uad, "cddpm", conditioned, "no ResNet encoder in it")
        basic = {
            "encoder.layer1.0.conv1.weight": torch.zeros(8, 8, 3, 3),
            "encoder.conv1.weight": torch.zeros(8, 1, 7, 7),
        }
        both = {f"unet.{key}": value for key, value in conditioned.items()} | basic
        self.refused(uad, "cddpm", both, "basic blocks")

    def test_channels_that_are_no_multiples(self, uad, state):
        shapes = {"time_embedding.1.weight": (96, 24), "time_embedding.1.bias": (96,)}
        self.refused(
            uad, "anoddpm", changed(state, **shapes), "channels [32, 64]: only whole multiples of the first, 24"
        )

    def test_another_schedule(self, uad, guided):
        betas = {"betas": torch.linspace(0.0015**0.5, 0.0205**0.5, 1000) ** 2}
        networks = {f"model.{key}": value for key, value in guided.items()}
        self.refused(uad, "pddpm", networks | betas, "none of linear, cosine, quadratic")

    def test_several_networks(self, uad, state):
        both = {"first": state, "second": state}
        self.refused(uad, "anoddpm", both, "several networks: first., second. (save only one)")

    def test_monais_others(self, uad):
        nets = pytest.importorskip("monai.networks.nets")
        sizes = {"channels": (8, 16), "num_res_channels": 8, "num_res_layers": 1}
        vqvae = nets.VQVAE(2, 1, 1, **sizes, downsample_parameters=((2, 4, 1, 1),) * 2,
                           upsample_parameters=((2, 4, 1, 1, 0),) * 2, num_embeddings=4, embedding_dim=4)  # fmt: skip
        self.refused(uad, "monai", vqvae.state_dict(), "not the network that its shapes and settings say")
        sizes = {"channels": (8, 8), "attention_levels": (False, False), "norm_num_groups": 8}
        net = nets.DiffusionModelUNet(3, 1, 1, num_res_blocks=1, **sizes)
        self.refused(uad, "monai", net.state_dict(), "a 3-D network")
        net = nets.DiffusionModelUNet(2, 1, 1, num_res_blocks=(1, 2), **sizes)
        self.refused(uad, "monai", net.state_dict(), "levels with [1, 2] residual blocks")
        sizes |= {"attention_levels": (False, True), "num_head_channels": 8}
        net = nets.DiffusionModelUNet(2, 1, 1, num_res_blocks=1, **sizes, with_conditioning=True, cross_attention_dim=4)
        self.refused(uad, "monai", net.state_dict(), "cross-attention")


def test_pddpms_plain_network_is_another_kind(uad, guided):
    """With --set kind=diffusion, or when its blocks add the step."""
    torch.save(guided, "a.pt")
    words = ["import", "--from", "pddpm", "a.pt", "-o", "ours.safetensors", *GRID, "--set", "network.heads=2"]
    made = uad("models", *words, "--set", "kind=diffusion")
    assert made.status == 0, made.err
    config = read_config(Path("ours.safetensors"))
    assert (config.kind, config.defaults.method, config.schedule.kind) == ("diffusion", "sss", "cosine")


def test_wrong_use(uad):
    uad("models").fails("models", 2, "Missing command")
    uad("models", "delete").fails("models", 2, "delete")
    uad("models", "import", "--from", "stable-diffusion", "a.pt", "-o", "b.safetensors").fails("models", 2, "--from")
    uad("models", "import", "a.pt", "-o", "b.safetensors").fails("models", 2, "--from")
    uad("models", "info", "--half").fails("models", 2, "--half")


def test_help_of_each_part(uad):
    for part in ("list", "info", "check", "import", "describe", "reference", "settle"):
        assert uad("models", part, "-h").out.decode().startswith(f"Usage: uad-models {part} [OPTIONS]")
    assert uad("models", "--version").out.startswith(b"uadtools ")


def test_the_imported_model_says_so(uad, saved):
    uad("models", *IMPORT)
    found = uad("models", "info", "ours.safetensors", "--json").json
    assert found["training"]["program"] == "anoddpm"
    assert ModelConfig.model_validate({k: v for k, v in found.items() if k in ModelConfig.model_fields})
    assert json.loads(uad("models", "info", "ours.safetensors", "--json").out) == found


def test_defaults_are_settled_and_weights_stay(uad, tiny_model, here):
    words = ("settle", tiny_model, "--set", "defaults.t=[7]", "--set", "name=mine", "-o", "m.safetensors")
    made = uad("models", *words)
    assert (made.status, made.out) == (0, b"")
    assert made.err == "uad-models: m.safetensors: defaults.t=[7], name=mine\n"
    config = read_config(here / "m.safetensors")
    assert (config.defaults.t, config.name) == ((7,), "mine")
    before, after = read_tensors(tiny_model), read_tensors(here / "m.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    uad("models", *words).fails("models", 1, "m.safetensors: exists (--force replaces it)")
    (told,) = [uad("models", *words, "--force", "--json").json]
    assert told == config.model_dump(mode="json", include={"name", "licence", "defaults"})


def test_weights_that_16_bits_do_not_hold_stay_as_they_are_when_a_model_is_settled(uad, fine_model, here):
    assert uad("models", "settle", fine_model, "--set", "name=mine", "-o", "m.safetensors").status == 0
    before, after = read_tensors(fine_model), read_tensors(here / "m.safetensors")
    assert {value.dtype for value in after.values()} == {torch.float32}
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_model_is_settled_in_place_with_force_alone(uad, tiny_model, here):
    (here / "m.safetensors").write_bytes(tiny_model.read_bytes())
    uad("models", "settle", "m.safetensors", "--set", "licence=CC0").fails("models", 1, "m.safetensors: exists")
    assert (here / "m.safetensors").read_bytes() == tiny_model.read_bytes()
    assert uad("models", "settle", "m.safetensors", "--set", "licence=CC0", "--force", "-q").err == ""
    assert read_config(here / "m.safetensors").licence == "CC0"
    words = ("settle", tiny_model, "--set", "licence=CC0", "-o", "m.pt")
    uad("models", *words).fails("models", 1, "m.pt: a model file ends in .safetensors")


def test_what_is_settled_holds_when_it_heals(uad, tiny_guided, prepared, here):
    change = "defaults.chain={median = 1, erode = 2, min_size = 4}"
    uad("models", "settle", tiny_guided["restoration"], "--set", change, "-o", "m.safetensors")
    assert uad("heal", prepared, "--model", "m.safetensors").status == 0
    line = json.loads((here / "p_healed.json").read_text())["history"][-1]
    assert line["chain"] == {"median": 1, "smooth": 0.0, "erode": 2, "min_size": 4}
    assert line["model"] == f"tiny-restoration:{file_hash(here / 'm.safetensors')}"


class TestReference:
    @pytest.fixture
    def healthy(self, here, phantom):
        """Eight scans, each a little different: the folder healthy."""
        (here / "healthy").mkdir()
        scan = phantom.need("scan")
        for number in range(8):
            data = np.where(scan.data > 0, np.clip(scan.data, 0, 1) ** (0.7 + 0.1 * number), 0).astype(np.float32)
            save(scan.derive(data, "scan"), here / "healthy" / f"{number}.nii.gz")
        return here / "healthy"

    def test_a_model_learns_what_is_to_be_expected_of_healthy_scans(self, uad, tiny_guided, healthy, prepared, here):
        path = tiny_guided["restoration"]
        words = ("reference", path, "--healthy", healthy, "-o", "m.safetensors")
        made = uad("models", *words, "--json")
        assert (made.status, made.err) == (0, "")
        assert made.json == {"written": "m.safetensors", "scans": 8, "smooth": 1.5}
        kept = read_tensors(here / "m.safetensors").pop("reference.expected")
        assert kept.shape == (8, 8, 4)
        assert read_config(here / "m.safetensors").reference.scans == 8
        assert "reference    residuals of 8 healthy scans" in uad("models", "info", "m.safetensors").out.decode()
        assert "reference    none" in uad("models", "info", path).out.decode()
        assert uad("models", "check", "m.safetensors").status == 0
        assert uad("heal", prepared, "--model", "m.safetensors").status == 0
        (told,) = uad("score", prepared, "p_healed.nii.gz", "--json").json
        assert told["metric"] == "relative"
        assert 0.05 < told["case_score"] < 1  # a healthy scan is within what is expected, which is twice its residual

    def test_it_says_what_it_learnt_from(self, uad, tiny_guided, healthy):
        made = uad("models", "reference", tiny_guided["restoration"], "--healthy", healthy, "-o", "m.safetensors")
        assert (made.status, made.out, made.err) == (
            0, b"", "uad-models: m.safetensors: residuals of 8 healthy scans\n"
        )  # fmt: skip

    def test_a_contrast_gets_one_of_its_own(self, uad, tiny_guided, healthy, here):
        words = ("--healthy", healthy, "--contrast", "FLAIR", "--json")
        early = uad("models", "reference", tiny_guided["restoration"], *words, "-o", "m.safetensors")
        early.fails("models", 1, "has no reference for all scans yet")
        uad("models", "reference", tiny_guided["restoration"], "--healthy", healthy, "-o", "m.safetensors")
        made = uad("models", "reference", "m.safetensors", *words, "--force")
        assert made.json == {"written": "m.safetensors", "contrast": "FLAIR", "scans": 8, "smooth": 1.5}
        assert "reference.expected.FLAIR" in read_tensors(here / "m.safetensors")
        about, plain = (uad("models", "info", m, "--json").json for m in ("m.safetensors", tiny_guided["restoration"]))
        assert about["parameters"] == plain["parameters"]  # a reference is nothing that was learnt
        assert "residuals of 8 healthy scans, 8 of FLAIR" in uad("models", "info", "m.safetensors").out.decode()
        again = uad("models", "reference", "m.safetensors", "--healthy", healthy, "--contrast", "FLAIR", "--force")
        assert again.err.endswith("m.safetensors: residuals of 8 healthy scans of FLAIR\n")

    def test_several_sources_are_read(self, uad, tiny_guided, healthy, here):
        files = sorted(healthy.glob("*.nii.gz"))
        (here / "list.txt").write_text("".join(f"{file}\n" for file in files[:6]))
        words = ("reference", tiny_guided["restoration"], "--healthy", "list.txt", *files[6:], "-o", "m.safetensors")
        made = uad("models", *words, "--json")
        assert made.status == 0, made.err
        assert made.json["scans"] == 8

    def test_a_model_is_changed_in_place_with_force_alone_and_this_is_told_before_the_work(
        self, uad, tiny_guided, healthy, here
    ):
        (here / "m.safetensors").write_bytes(tiny_guided["restoration"].read_bytes())
        uad("models", "reference", "m.safetensors", "--healthy", "nowhere").fails("models", 1, "m.safetensors: exists")
        before = (here / "m.safetensors").read_bytes()
        assert before == tiny_guided["restoration"].read_bytes()
        assert uad("models", "reference", "m.safetensors", "--healthy", healthy, "--force", "-q").err == ""
        assert read_config(here / "m.safetensors").reference.scans == 8

    def test_too_few_scans_are_refused(self, uad, tiny_guided, healthy, here):
        (healthy / "0.nii.gz").unlink()
        words = ("reference", tiny_guided["restoration"], "--healthy", healthy, "-o", "m.safetensors")
        uad("models", *words).fails("models", 1, "7 healthy scans: a reference needs at least 8")
        assert not (here / "m.safetensors").exists()

    def test_scans_that_were_not_prepared_are_refused(self, uad, tiny_guided, scan, here):
        words = ("reference", tiny_guided["restoration"], "--healthy", scan, "-o", "m.safetensors")
        uad("models", *words).fails("models", 1, "raw: not prepared for model tiny-restoration")

    def test_device_and_precision_are_those_asked_for(self, uad, tiny_guided, healthy):
        words = ("reference", tiny_guided["restoration"], "--healthy", healthy, "-o", "m.safetensors")
        uad("models", *words, "--device", "cuda:99").fails("models", 1, "--device cuda:99: not available")
        made = []
        for precision in ("fp32", "bf16"):
            assert uad("models", *words, "--force", "--device", "cpu", "--precision", precision).status == 0
            made.append(read_tensors(Path("m.safetensors"))["reference.expected"].float())
        assert 0 < (made[0] - made[1]).abs().max() < 0.01


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("network.base=4", "only name, licence, defaults may be set after training"),
        ("defaults.method=restore", "does not heal with models of kind 'diffusion'"),
        ("defaults.magic=1", "defaults.magic: unknown key"),
    ],
)
def test_what_the_weights_depend_on_is_not_settled(uad, tiny_model, change, said):
    uad("models", "settle", tiny_model, "--set", change, "-o", "m.safetensors").fails("models", 1, said)
