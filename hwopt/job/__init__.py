"""The main job: from a recipe to compiled, checked and measured variants of a model."""

from hwopt.job.job import Job
from hwopt.job.read_recipe import changed_recipe, load_recipe, make_recipe
from hwopt.job.recipe import Recipe, Training, Variant
from hwopt.job.workspace import start_fresh

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
