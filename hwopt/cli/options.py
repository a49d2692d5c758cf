"""Options and arguments that several commands share, and how they print."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwopt.errors import HwoptError

if TYPE_CHECKING:
    from hwopt.graph import Graph
    from hwopt.passes import Context

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

MODEL_HELP = (
    "MODEL is a name of the zoo (such as resnet8), package.module:callable, a .pt2 or .onnx "
    "file, or a folder with a saved graph or an artefact."
)


class InputShape(click.ParamType):
    """A shape such as 3x224x224."""

    name = "CxHxW"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Return the shape as a tuple."""
        if isinstance(value, tuple):
            return value
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", value):
            self.fail(f"{value!r} is no shape: write numbers with 'x' between, such as 3x224x224")
        return tuple(int(part) for part in value.split("x"))


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which model is meant."""
    for decorate in reversed(
        (
            click.option("--input-shape", type=InputShape(), help="Shape of one input, no batch."),
            click.option("--classes", type=click.IntRange(1), help="Classes of a zoo model."),
            click.option(
                "--model-option",
                "model_options",
                multiple=True,
                metavar="KEY=VALUE",
                help="Argument of a zoo model or callable; may be repeated.",
            ),
        )
    ):
        command = decorate(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
target_option = click.option(
    "--target", default="host", show_default=True, help="A target's name or .toml file."
)
where_option = click.option(
    "--target", help="What it runs on.  [default: this machine, or the board of its own target]"
)
threads_option = click.option(
    "--threads", type=click.IntRange(1), help="Threads of kernels.  [default: the target's]"
)
trials_option = click.option(
    "--trials",
    type=click.IntRange(0),
    help="Most candidates measured for one kernel; 0 measures none.  [default: the tuner's]",
)
plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A Python file that defines passes; may be repeated.",
)


data_option = click.option(
    "--data", help="For passes that need data: a data set, a folder or a callable."
)


def pass_context(graph: Graph, data_set: str | None, target: str, seed: int) -> Context:
    """Return what passes may ask for; images of a folder are resized to what the graph reads."""
    from hwopt import data, passes, targets

    batches = None
    if data_set is not None:
        shape = next(iter(graph.inputs.values())).at()
        loaded = data.load(data_set, image_size=data.image_size(shape))
        batches = functools.partial(data.batches, loaded.train, passes.BATCH_SIZE, seed=seed)
    return passes.Context(batches=batches, vector_length=targets.get(target).float_lanes, seed=seed)


def passed_graph(graph: Graph, passes: str, data_set: str | None, target: str, seed: int) -> Graph:
    """Return a graph after passes; what they note goes to the standard error."""
    import hwopt

    context = pass_context(graph, data_set, target, seed)
    graph = hwopt.apply(graph, passes, context)
    for name, note in context.notes:
        click.echo(f"{name}: {note}", err=True)
    return graph


def load_plugins(plugins: tuple[Path, ...]) -> None:
    """Register the passes of the files given with ``--plugin``."""
    from hwopt import passes

    for plugin in plugins:
        passes.load_file(plugin)


def load_model(
    model: str,
    input_shape: tuple[int, ...] | None,
    classes: int | None,
    model_options: tuple[str, ...],
    seed: int,
) -> Graph:
    """Return the graph of the model that the user named."""
    from hwopt.models.source import load_graph

    return load_graph(
        model,
        input_shape=input_shape,
        num_classes=classes,
        options=parse_options(model_options),
        seed=seed,
    )


def parse_options(options: tuple[str, ...]) -> dict[str, int | float | str | bool]:
    """Return ``KEY=VALUE`` texts as a dictionary; numbers, true and false are understood.

    >>> parse_options(("width=8", "dropout=0.1", "bias=true"))
    {'width': 8, 'dropout': 0.1, 'bias': True}
    """
    parsed: dict[str, int | float | str | bool] = {}
    for option in options:
        key, separator, value = option.partition("=")
        if not separator or not key:
            raise HwoptError(f"--model-option {option!r} must be KEY=VALUE")
        try:
            parsed[key] = json.loads(value)
        except json.JSONDecodeError:
            parsed[key] = value
    return parsed


def print_json(value: Any) -> None:
    """Print a value as JSON on the standard output."""
    click.echo(json.dumps(value, indent=2))
