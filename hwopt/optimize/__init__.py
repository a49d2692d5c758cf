"""The main job: from a recipe to compiled, checked and measured variants of a model."""

from hwopt.optimize.job import Job
from hwopt.optimize.read_recipe import changed_recipe, load_recipe, make_recipe
from hwopt.optimize.recipe import Recipe, Training, Variant
from hwopt.optimize.workspace import start_fresh

__all__ = [
    "Job",
    "Recipe",
    "Training",
    "Variant",
    "changed_recipe",
    "load_recipe",
    "make_recipe",
    "start_fresh",
]
