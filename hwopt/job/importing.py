"""The data of a recipe, and its model as a graph that takes samples of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hwopt import data
from hwopt.errors import HwoptError
from hwopt.models.source import load_graph, source_kind

if TYPE_CHECKING:
    from hwopt.data import DataSet
    from hwopt.graph import Graph
    from hwopt.job.recipe import Recipe
    from hwopt.tasks import Task


def import_for(recipe: Recipe, samples: DataSet, task: Task) -> Graph:
    """Return the graph of a recipe's model, before any training.

    Args:
        recipe: names the model.
        samples: that it is to take ...
        task: ... as this feeds them.

    Raises:
        HwoptError: if it does not take them.
    """
    kind = source_kind(recipe.model)
    fed = task.feed(samples.example.inputs)
    graph = load_graph(
        recipe.model,
        **_inputs(recipe, kind, fed),
        num_classes=samples.num_classes if kind == "zoo" else None,
        options=dict(recipe.model_options),
        seed=recipe.seed,
        weights=recipe.weights,
    )
    took = [(spec.at()[1:], spec.dtype) for spec in graph.inputs.values()]
    given = [
        (tuple(one.shape[1:]), str(one.dtype).removeprefix("torch."))
        for one in data.leaves(fed, graph.inputs)
    ]
    if took != given:
        raise HwoptError(
            f"{recipe.model} takes {_shown(took)} as {', '.join(graph.inputs)}, but samples of "
            f"{recipe.data} are {_shown(given)}: give input_shape, or other data"
        )
    return graph


def load_data(recipe: Recipe) -> DataSet:
    """Return the data set of a recipe; images of a folder are resized to what it takes."""
    size = data.image_size((1, *(recipe.input_shape or ())))
    return data.load(recipe.data, fallback=recipe.data_fallback, image_size=size)


def _inputs(recipe: Recipe, kind: str, fed: Any) -> dict[str, Any]:
    """Return what a model is imported with: the shape of its input, or examples of several."""
    if recipe.input_shape:
        return {"input_shape": recipe.input_shape}
    if kind == "file":
        return {}
    given = data.leaves(fed)
    if len(given) == 1 and given[0].is_floating_point():
        return {"input_shape": tuple(given[0].shape[1:])}
    names = fed if isinstance(fed, dict) else map(str, range(len(given)))
    return {"inputs": dict(zip(names, given, strict=True))}


def _shown(inputs: Iterable[tuple[tuple[int, ...], str]]) -> str:
    """Return shapes and dtypes for people."""
    return ", ".join(f"{'x'.join(map(str, shape))} {dtype}" for shape, dtype in inputs)
