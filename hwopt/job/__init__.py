"""The main job: from a recipe to compiled, checked and measured variants of a model.

The names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt import lazy

if TYPE_CHECKING:
    from hwopt.job.job import Job as Job
    from hwopt.job.read_recipe import changed_recipe as changed_recipe
    from hwopt.job.read_recipe import load_recipe as load_recipe
    from hwopt.job.read_recipe import make_recipe as make_recipe
    from hwopt.job.read_recipe import recipe_text as recipe_text
    from hwopt.job.recipe import Recipe as Recipe
    from hwopt.job.recipe import Training as Training
    from hwopt.job.recipe import Variant as Variant
    from hwopt.job.results import JobResults as JobResults
    from hwopt.job.run_job import optimize as optimize
    from hwopt.job.within_limits import recipe_within as recipe_within
    from hwopt.job.workspace import start_fresh as start_fresh
else:
    __getattr__, __dir__, __all__ = lazy.attach(
        __name__,
        {
            "Job": "hwopt.job.job",
            "JobResults": "hwopt.job.results",
            "Recipe": "hwopt.job.recipe",
            "Training": "hwopt.job.recipe",
            "Variant": "hwopt.job.recipe",
            "changed_recipe": "hwopt.job.read_recipe",
            "load_recipe": "hwopt.job.read_recipe",
            "make_recipe": "hwopt.job.read_recipe",
            "optimize": "hwopt.job.run_job",
            "recipe_text": "hwopt.job.read_recipe",
            "recipe_within": "hwopt.job.within_limits",
            "start_fresh": "hwopt.job.workspace",
        },
    )
