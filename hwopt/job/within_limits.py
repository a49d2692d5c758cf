"""Without a recipe: what is sensible for a model, its data, and the limits of a device."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt import targets, tasks
from hwopt.compiler.kernels_of import footprint_of
from hwopt.errors import HwoptError
from hwopt.job.importing import load_data
from hwopt.job.job import Job
from hwopt.job.read_recipe import changed_recipe, make_recipe
from hwopt.job.workspace import start_fresh
from hwopt.models.source import are_random
from hwopt.passes import apply

if TYPE_CHECKING:
    from hwopt.data import DataSet
    from hwopt.graph import Graph
    from hwopt.job.recipe import Recipe
    from hwopt.targets.progress import Progress

#: Of a limit on latency: the final measurement is another one than that which widths are chosen by.
_AIM = 0.96
#: Shares of channels that are tried for limits on memory, and least of what is left of a latency.
_RATIOS = tuple(step / 20 for step in range(1, 20))
_LEAST_SHARE = 0.05
#: How trained weights are tuned: gently, and without forgetting.
_GENTLY = {"optimizer": "adamw", "learning_rate": 0.001, "weight_decay": 0.0}
#: The variant that is made.
WITHIN = "within"


def recipe_within(
    document: dict[str, Any],
    folder: Path,
    tuning: Progress | None = None,
    *,
    fresh: bool = False,
) -> Recipe:
    """Return a recipe with a variant that is made to keep its limits.

    The task is that of the data, if none is said: classes are to be told, and without targets the
    network is imitated. A model of the zoo or of a library with random weights is trained first.
    Where the network exceeds a limit, channels are taken: one share of all layers as memory and
    size need it, the rest by measured latency.

    Args:
        document: keys and values of a recipe, ``limits`` among them.
        folder: of the job, which remembers what was measured.
        tuning: progress of compiling; see ``hwopt.compile``.
        fresh: forget what an earlier job left in the folder, also what it measured.

    Raises:
        HwoptError: if the recipe is wrong, nothing says what the model is for, or no pruning keeps
            the limits.
    """
    written = make_recipe(document, "the flags")
    samples = load_data(written)
    changes: dict[str, Any] = {}
    if "task" not in document:
        changes["task"] = _task_of(samples)
    if are_random(written.model, written.weights, written.model_options):
        if isinstance(tasks.find(changes.get("task", written.task)), tasks.Imitation):
            raise HwoptError(
                f"{written.model} has random weights: there is nothing to imitate; give --weights, "
                "or data with targets and another task"
            )
        changes |= {} if "train" in document else {"train": {}}
    elif document.get("fine_tune", {}) is not None:
        changes["fine_tune"] = {**_GENTLY, **document.get("fine_tune", {})}
    recipe = changed_recipe(written, **changes)
    if not tasks.find(recipe.task).has_classes:
        recipe = _without_smoothing(recipe)
    job = Job(recipe, folder, data_set=samples, tuning=tuning)
    targets.require(job.target)
    graph = job.imported  # refuses what does not fit before anything is removed
    if fresh:
        start_fresh(folder)
    with job.work.alone():
        passes = _passes_within(graph, job)
    variants = {"dense": ""} | ({WITHIN: passes} if passes else {})
    return changed_recipe(recipe, variants=variants)


def _task_of(samples: DataSet) -> str:
    if samples.num_classes:
        return "classification"
    if samples.example.targets is None:
        return "imitate"
    raise HwoptError(
        f"targets of {samples.name} are no classes: say what the model is for, such as --task "
        f"regression ({', '.join(tasks.names())})"
    )


def _without_smoothing(recipe: Recipe) -> Recipe:
    """Return a recipe whose training has no smoothed labels, where there are none."""
    document = recipe.model_dump(mode="json")
    for key in ("train", "fine_tune"):
        if document[key] is not None:
            document[key]["label_smoothing"] = 0.0
    return make_recipe(document)


def _passes_within(dense: Graph, job: Job) -> str:
    """Return passes after which a network keeps the limits; none where it does as it is."""
    limits = job.recipe.limits
    graph, passes = dense, []
    if not _fits(graph, job):
        graph, ratio = _narrowed(graph, job)
        passes.append(f"prune-channels{{ratio={ratio:g},criterion=taylor,batches=10}}")
    if limits.ms is not None:
        latency = job.context().latency
        assert latency is not None
        ms = latency([dense, graph])[1] if passes else latency([dense])[0]
        if limits.ms / ms < _LEAST_SHARE:
            raise HwoptError(
                f"{limits.ms:g} ms is under {_LEAST_SHARE:.0%} of the {ms:.3g} ms that "
                f"{job.recipe.model} takes on {job.target.name}: choose a smaller model, or a "
                "larger budget"
            )
        if limits.ms < ms:
            share = math.floor(100 * _AIM * limits.ms / ms) / 100
            passes.append(f"prune-to-latency{{share={share:g}}}")
    return ", ".join(passes)


def _fits(graph: Graph, job: Job) -> bool:
    """Return whether a network keeps the limits on memory and size, as predicted."""
    footprint = footprint_of(graph, job.target)
    limits = job.recipe.limits
    return not list(limits.exceeded(0.0, footprint.activation_bytes, footprint.kept_bytes))


def _narrowed(graph: Graph, job: Job) -> tuple[Graph, float]:
    """Return the widest network that keeps the limits on memory and size, and what it lost."""
    low, high = -1, len(_RATIOS)
    found: Graph | None = None
    while high - low > 1:
        middle = (low + high) // 2
        pruned = apply(graph, f"prune-channels{{ratio={_RATIOS[middle]:g}}}")
        if _fits(pruned, job):
            high, found = middle, pruned
        else:
            low = middle
    if found is None:
        footprint = footprint_of(graph, job.target)
        raise HwoptError(
            f"{job.recipe.model} takes {footprint.activation_bytes:,} bytes of memory, and "
            f"{footprint.kept_bytes:,} of weights and code: no pruning of its channels keeps the "
            "limits, choose a smaller model or larger ones"
        )
    return found, _RATIOS[high]
