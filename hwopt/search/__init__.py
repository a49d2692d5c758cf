"""Search for the trade-off of quality and latency: a study of trials, kept and resumed.

The names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt import lazy

if TYPE_CHECKING:
    from hwopt.search.choose import pick as pick
    from hwopt.search.recipe import SearchRecipe as SearchRecipe
    from hwopt.search.recipe import load_search as load_search
    from hwopt.search.recipe import make_search as make_search
    from hwopt.search.results import StudyResults as StudyResults
    from hwopt.search.run_search import run as run
    from hwopt.search.study import Study as Study
else:
    __getattr__, __dir__, __all__ = lazy.attach(
        __name__,
        {
            "SearchRecipe": "hwopt.search.recipe",
            "Study": "hwopt.search.study",
            "StudyResults": "hwopt.search.results",
            "load_search": "hwopt.search.recipe",
            "make_search": "hwopt.search.recipe",
            "pick": "hwopt.search.choose",
            "run": "hwopt.search.run_search",
        },
    )
