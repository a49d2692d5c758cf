"""The model that a command is about: how the user names it, and what is to be done to it first."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hwopt.cli import inputs, options
from hwopt.errors import HwoptError

if TYPE_CHECKING:
    from hwopt.compiler.dump import Dump
    from hwopt.graph import Graph
    from hwopt.passes import Context

HELP = (
    "MODEL is a name of the zoo (such as resnet8), torchvision:NAME, timm:NAME, "
    "package.module:callable, a .pt2 or .onnx file, or a folder with a saved graph or an artefact."
)


class Making(NamedTuple):
    """How a model is made from its name."""

    input_shape: tuple[int, ...] | None
    classes: int | None
    options: tuple[str, ...]
    seed: int
    inputs: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    dims: tuple[str, ...] = ()
    weights: Path | None = None

    def graph(self, model: str) -> Graph:
        """Return the graph of a model that the user named."""
        from hwopt.models import libraries
        from hwopt.models.source import are_random, load_graph

        options = parse_options(self.options)
        if libraries.is_library(model) and are_random(model, self.weights, options):
            click.echo(f"note: {model} has random weights: give --weights FILE", err=True)
        return load_graph(
            model,
            input_shape=self.input_shape,
            num_classes=self.classes,
            options=options,
            seed=self.seed,
            inputs=inputs.examples(self.inputs),
            constants=inputs.constants(self.constants),
            dims=inputs.dims(self.dims),
            weights=self.weights,
        )

    def context(self, graph: Graph, samples: Samples, target: str) -> Context:
        """Return what passes may ask for; images of a folder are resized to what the graph reads.

        Args:
            graph: that passes are applied to.
            samples: that passes may look at.
            target: whose vector length counts.
        """
        from hwopt import data, passes, targets, tasks

        batches, task = None, tasks.find(samples.task).learned_from(graph.to_torch)
        if samples.data is not None:
            shape = next(iter(graph.inputs.values())).at()
            loaded = data.load(samples.data, image_size=data.image_size(shape))
            order = {"seed": self.seed}
            batches = functools.partial(data.batches, loaded.train, passes.BATCH_SIZE, **order)
        lanes = targets.get(target).float_lanes
        return passes.Context(batches=batches, task=task, vector_length=lanes, seed=self.seed)


class Given(NamedTuple):
    """A model as the user gave it, with passes."""

    model: str
    making: Making
    passes: str
    samples: Samples

    def graph(self, target: str, dump: Dump | None = None) -> Graph:
        """Return the graph after the passes; what they note goes to the standard error.

        Args:
            target: whose vectors passes may ask for.
            dump: gets the graph before and after every pass.
        """
        import hwopt

        graph = self.making.graph(self.model)
        context = self.making.context(graph, self.samples, target)
        if dump is not None:
            dump.graph("imported", graph)
        graph = hwopt.apply(graph, self.passes, context, on_pass=dump.passed if dump else None)
        for name, note in context.notes:
            click.echo(f"{name}: {note}", err=True)
        return graph


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


class Samples(NamedTuple):
    """What passes that need data judge by, as the user named it."""

    data: str | None
    task: str


def samples_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of data for passes; the command takes them as ``samples``."""

    @click.option("--data", help="For passes that need data: a data set, a folder or a callable.")
    @click.option(
        "--task",
        default="classification",
        show_default=True,
        help="For passes that need data: what the model is for.",
    )
    @functools.wraps(command)
    def with_samples(*, data: str | None, task: str, **others: Any) -> Any:
        return command(samples=Samples(data, task), **others)

    return with_samples


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which model is meant, whose classes come from its data."""
    for decorate in (
        click.option(
            "--model-option",
            "model_options",
            multiple=True,
            metavar="KEY=VALUE",
            help="Argument of the model's function; may be repeated.",
        ),
        click.option("--input-shape", type=InputShape(), help="Shape of one input, no batch."),
        click.option(
            "--weights",
            type=click.Path(path_type=Path),
            help="File of weights for a model that a function makes: safetensors, or torch's.",
        ),
    ):
        command = decorate(command)
    return command


def input_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say several inputs, and bind those of an ONNX file."""
    for decorate in (
        click.option(
            "--dim",
            "dims",
            multiple=True,
            metavar="NAME=VALUE",
            help="Size of a free dimension of an ONNX file; may be repeated.",
        ),
        click.option(
            "--constant",
            "constants",
            multiple=True,
            metavar="NAME=VALUE",
            help="Value (a number, a list, a .npy file) of an input of an ONNX file, which the "
            "model has no more then; may be repeated.",
        ),
        click.option(
            "--input",
            "inputs",
            multiple=True,
            metavar="NAME=SPEC",
            help="An input, as f32[1,3,224,224] or as a .npy file; may be repeated.",
        ),
    ):
        command = decorate(command)
    return command


def making_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of how a model is made; the command takes them as ``making``."""

    @model_options
    @input_options
    @click.option(
        "--classes", type=click.IntRange(1), help="Classes of a model of the zoo or a library."
    )
    @options.seed_option
    @functools.wraps(command)
    def with_making(
        *,
        input_shape: tuple[int, ...] | None,
        classes: int | None,
        model_options: tuple[str, ...],
        seed: int,
        inputs: tuple[str, ...],
        constants: tuple[str, ...],
        dims: tuple[str, ...],
        weights: Path | None,
        **others: Any,
    ) -> Any:
        made = input_shape, classes, model_options, seed, inputs, constants, dims, weights
        making = Making(*made)
        return command(making=making, **others)

    return with_making


def given_model(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add MODEL, how it is made, and passes before it; the command takes all as ``given``."""

    @click.argument("model")
    @making_options
    @click.option("--passes", default="", help="Passes to apply first, such as fold-batch-norm.")
    @samples_options
    @options.plugin_option
    @functools.wraps(command)
    def with_model(
        *,
        model: str,
        making: Making,
        passes: str,
        samples: Samples,
        plugins: tuple[Path, ...],
        **others: Any,
    ) -> Any:
        options.load_plugins(plugins)
        return command(given=Given(model, making, passes, samples), **others)

    return with_model


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
