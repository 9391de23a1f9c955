from uadtools.interface.recipe import Recipe
from uadtools.methods import distilled
from uadtools.models.checkpoint import read_tensors
from uadtools.models.kinds import kind
from uadtools.models.model import build
from uadtools.training.start import donor_of


def test_the_network_and_its_average_begin_with_the_weights_of_the_teacher(tiny_model, guided_recipes):
    recipe = Recipe.model_validate(
        guided_recipes["distilled"].model_dump() | {"teacher": str(tiny_model), "grid": {"shape": (16, 16, 8)}}
    )
    nets = build(recipe), build(recipe)
    distilled.start(recipe, nets, donor_of(recipe), None)
    weights = read_tensors(tiny_model)
    for net in nets:
        assert net.state_dict().keys() == weights.keys()
        assert all((value == weights[name].float()).all() for name, value in net.state_dict().items())


def test_a_student_is_taught_and_no_model_of_another_kind(tiny_recipe, tiny_recipes, guided_recipes):
    recipes = {"diffusion": tiny_recipe, **tiny_recipes, **guided_recipes}
    assert [name for name, recipe in recipes.items() if recipe.taught] == ["distilled"]
    assert "teacher" not in kind("distilled").Settings.model_fields
    assert "teacher" not in recipes["distilled"].model({}).model_dump()
