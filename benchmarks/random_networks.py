"""Random networks as programs: lists of steps that can be written down, run, and made smaller."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.random_steps import FUNCTIONS, LAYERS, OF_TWO, OPTIONS, Options
from benchmarks.stations import Finding, compile_and_run, found, imported, passed, results
from hwopt.graph import Graph

#: Numbers of a value above which a network grows no further.
_MOST = 4096


@dataclasses.dataclass
class Program:
    """A network: every step reads values by their numbers and makes one more.

    Attributes:
        seed: of the weights and the inputs.
        inputs: shapes; of whole numbers where the first step is an embedding.
        steps: (operator, numbers of the values that it reads, options).
        outputs: numbers of values.
    """

    seed: int
    inputs: list[tuple[int, ...]]
    steps: list[tuple[str, list[int], Options]]
    outputs: list[int]

    @property
    def values(self) -> int:
        """How many values there are: inputs, and one a step."""
        return len(self.inputs) + len(self.steps)

    def to_json(self) -> str:
        """Return it as JSON, from which :meth:`from_json` makes it again."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Program:
        """Read what :meth:`to_json` wrote."""
        found = json.loads(text)
        return cls(
            found["seed"],
            [tuple(shape) for shape in found["inputs"]],
            [(name, read, options) for name, read, options in found["steps"]],
            found["outputs"],
        )

    def examples(self) -> tuple[Tensor, ...]:
        """Return inputs."""
        generator = torch.Generator().manual_seed(self.seed)
        tokens = {n for name, read, _ in self.steps if name == "embedding" for n in read}
        return tuple(
            torch.randint(0, 20, shape, generator=generator)
            if number in tokens
            else torch.randn(shape, generator=generator)
            for number, shape in enumerate(self.inputs)
        )

    @classmethod
    def draw(cls, number: int) -> Program:
        """Return a random network; the same number gives the same one.

        Every other one is a classifier, with channels that passes can remove.
        """
        r = random.Random(number)
        return _classifier(r, number) if number % 2 else _anything(r, number)

    def check(self, *, compiled: bool, rewritten: bool = True) -> Iterator[Finding]:
        """Yield what comes out of each station.

        Args:
            compiled: whether it is compiled, too.
            rewritten: whether it then is in other words, too.
        """
        network, inputs = Network(self).eval(), self.examples()
        expected = results(network, inputs)
        graphs: list[Graph] = []
        yield from imported(graphs, network, inputs, expected, unequal)
        if not graphs:
            return
        yield found("training", lambda: _trained(graphs[0], network, inputs))
        yield from passed(graphs[0], inputs, unequal)
        models = [("compile", graphs[0]), ("rewritten", Rewritten(network))]
        for station, model in models[: compiled * (1 + rewritten)]:
            yield found(station, functools.partial(_compiled, model, inputs, expected))

    def smaller(self) -> Iterator[Program]:
        """Yield programs with one step less: what read it reads what it read."""
        first = len(self.inputs)
        for gone in reversed(range(len(self.steps))):
            for instead in self.steps[gone][1]:

                def moved(n: int, gone: int = gone, instead: int = instead) -> int:
                    return instead if n == first + gone else n - (n > first + gone)

                steps = [
                    (name, [moved(n) for n in read], options)
                    for place, (name, read, options) in enumerate(self.steps)
                    if place != gone
                ]
                yield Program(self.seed, self.inputs, steps, [moved(n) for n in self.outputs])
        for n in range(len(self.outputs)):
            if len(self.outputs) > 1:
                yield dataclasses.replace(self, outputs=[self.outputs[n]])


class Network(nn.Module):
    """Runs a program."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.layers = nn.ModuleList()
        with torch.random.fork_rng():
            torch.manual_seed(program.seed)
            for name, _, options in program.steps:
                layer = LAYERS[name](options) if name in LAYERS else nn.Identity()
                self.layers.append(_randomized(layer))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the program."""
        values = list(inputs)
        for layer, (name, read, options) in zip(self.layers, self.program.steps, strict=True):
            operands = [values[n] for n in read]
            if name in FUNCTIONS:
                values.append(FUNCTIONS[name](options, *operands))
            else:
                found = layer(*operands)
                values.append(found[0] if isinstance(found, tuple) else found)
        return tuple(values[n] for n in self.program.outputs)


class Rewritten(nn.Module):
    """The same network in other words: every input and output is turned there and back."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the network returns."""
        found = self.network(*(_there_and_back(x) for x in inputs))
        return tuple(_there_and_back(y) for y in found)


def _there_and_back(x: Tensor) -> Tensor:
    whole = torch.cat(x.split(1, 0), 0)
    return whole.transpose(0, -1).contiguous().transpose(0, -1)


def _trained(graph: Graph, network: Network, inputs: tuple[Tensor, ...]) -> str:
    """Compare both in training mode, where batch norms take the statistics of the batch."""
    theirs = copy.deepcopy(network).train()
    return unequal(results(graph.to_torch().train(), inputs), results(theirs, inputs))


def _compiled(model: Any, inputs: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> str:
    """Compare what a compiled model or graph returns."""
    return unequal(compile_and_run(model, inputs), expected)


def unequal(results: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> str:
    """Return how results differ, or nothing."""
    for number, (one, other) in enumerate(zip(results, expected, strict=True)):
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"output {number}: {one.dtype} {list(one.shape)}, not {list(other.shape)}"
        scale = max(1.0, other.abs().max().item())
        largest = (one - other).abs().max().item()
        if not largest <= 1e-3 * scale:
            return f"output {number} differs by {largest:.2g} of {scale:.2g}"
    return ""


def _randomized(layer: nn.Module) -> nn.Module:
    """Give norms weights and statistics that are not 0 and 1."""
    for module in layer.modules():
        if "norm" not in type(module).__name__.lower():
            continue
        own = (module.named_parameters(recurse=False), module.named_buffers(recurse=False))
        for name, tensor in itertools.chain(*own):
            if tensor.is_floating_point():
                low = 0.5 if name in ("weight", "running_var") else -0.5
                nn.init.uniform_(tensor, low, low + 1.0)
    return layer


#: Drawn more often, as networks have more of them.
_COMMON = ("conv", "conv", "conv", "linear", "batch_norm", "relu", "add")
_ACTIVATIONS = ("relu", "relu6", "silu", "hardswish", "leaky_relu", "prelu", "gelu", "tanh")
#: They keep apart what a classifier of images has of channels, and one of sequences of features.
_OF_IMAGES = (
    *("conv", "conv", "conv", "batch_norm", "batch_norm", "add", "add", "concat", "product"),
    *("gate", "max_pool", "avg_pool", "group_norm", "conv_transpose", "interpolate", "maximum"),
    *_ACTIVATIONS,
)
_OF_SEQUENCES = ("linear", "linear", "layer_norm", "attention", "add", "product", *_ACTIVATIONS)
_CLASSES = 4


def _anything(r: random.Random, seed: int) -> Program:
    shapes = {
        "image": lambda: (2, r.randint(1, 8), r.randint(4, 9), r.randint(4, 9)),
        "sequence": lambda: (2, r.randint(2, 20), r.randint(2, 12)),
        "vector": lambda: (2, r.randint(2, 20)),
        "volume": lambda: (2, r.randint(1, 4), 4, 5, 6),
        "tokens": lambda: (2, r.randint(2, 9)),
    }
    kind = r.choice(["image"] * 3 + ["sequence"] * 2 + ["vector", "volume", "tokens"])
    program = Program(seed, [shapes[kind]()], [], [0])
    if kind == "tokens":
        program.steps.append(("embedding", [0], {"size": r.randint(1, 20)}))
        program.outputs = [1]
    program = _with_steps(program, r, r.randint(2, 10), [*_COMMON, *OPTIONS])
    last = program.values - 1
    program.outputs = sorted({last, r.randint(len(program.inputs), last)})
    return program


def _classifier(r: random.Random, seed: int) -> Program:
    shape: tuple[int, ...]
    names: tuple[str, ...]
    dims: tuple[int, ...]
    if r.random() < 0.7:
        shape = (2, r.randint(1, 4), r.randint(5, 10), r.randint(5, 10))
        names, dims = _OF_IMAGES, (2, 3)
    else:
        shape = (2, r.randint(2, 9), 2 * r.randint(2, 6))
        names, dims = _OF_SEQUENCES, (1,)
    program = _with_steps(Program(seed, [shape], [], [0]), r, r.randint(3, 12), names)
    for dim in dims:
        program = _extended(program, "mean", {"dim": dim})
    program = _extended(program, "flatten", {"dim": 1})
    for outputs in (r.randint(4, 20), _CLASSES):
        inputs = int(_values(program)[-1].shape[1])
        program = _extended(program, "linear", {"inputs": inputs, "outputs": outputs})
        if outputs != _CLASSES:
            program = _extended(program, r.choice(_ACTIVATIONS[:3]), {})
    return program


def _extended(program: Program, name: str, options: Options) -> Program:
    """Return a program with one step more, of the last value; its result is the output."""
    step = (name, [program.values - 1], options)
    return dataclasses.replace(program, steps=[*program.steps, step], outputs=[program.values])


def _values(program: Program) -> tuple[Tensor, ...]:
    """Return all values of a program."""
    everything = dataclasses.replace(program, outputs=list(range(program.values)))
    with torch.no_grad():
        return Network(everything).eval()(*program.examples())


def _with_steps(program: Program, r: random.Random, wanted: int, names: Sequence[str]) -> Program:
    for _ in range(20 * wanted):
        if len(program.steps) >= wanted:
            break
        program = _grown(program, r, names) or program
    return program


def _grown(program: Program, r: random.Random, names: Sequence[str]) -> Program | None:
    """Return the program with one step more, or None if what was drawn does not fit."""
    count = program.values
    begin = len(program.inputs) if program.steps and program.steps[0][0] == "embedding" else 0
    read = [r.choice([count - 1, count - 1, r.randint(begin, count - 1)])]
    name = r.choice(names)
    values = _values(program)
    if name in OF_TWO:
        alike = [n for n in range(begin, count) if values[n].shape == values[read[0]].shape]
        read.append(r.choice([r.choice(alike), r.randint(begin, count - 1)]))
    options = OPTIONS[name](r, tuple(values[read[0]].shape))
    if options is None:
        return None
    grown = copy.deepcopy(program)
    grown.steps.append((name, read, options))
    grown.outputs = [count]
    try:
        with torch.no_grad():
            (found,) = Network(grown).eval()(*grown.examples())
    except (RuntimeError, ValueError, IndexError):
        return None
    fits = 0 < found.numel() <= _MOST and bool(found.isfinite().all()) and found.abs().max() < 1e4
    return grown if fits and found.shape[:1] == (2,) else None
