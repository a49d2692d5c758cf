"""Random networks as programs: lists of steps that can be written down, run, and made smaller."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Options = dict[str, Any]
Maker = Callable[[random.Random, tuple[int, ...]], Options | None]

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


def _conv(r: random.Random, shape: tuple[int, ...]) -> Options | None:
    if len(shape) not in (3, 4, 5) or min(shape[2:]) < 1:
        return None
    channels = shape[1]
    groups = r.choice([1, 1, 1, channels, *[g for g in (2, 3) if channels % g == 0]])
    kernel = r.randint(1, min(3, *shape[2:]))
    return {
        "rank": len(shape) - 2,
        "inputs": channels,
        "outputs": groups * r.randint(1, max(1, 12 // groups)),
        "kernel": kernel,
        "stride": r.randint(1, 2),
        "padding": r.randint(0, kernel // 2),
        "groups": groups,
        "bias": r.random() < 0.7,
    }


def _like(r: random.Random, shape: tuple[int, ...]) -> Options:
    return {}


def _channels(r: random.Random, shape: tuple[int, ...]) -> Options | None:
    return {"channels": shape[1], "rank": len(shape) - 2} if 2 <= len(shape) <= 5 else None


def _last(r: random.Random, shape: tuple[int, ...]) -> Options | None:
    return {"inputs": shape[-1], "outputs": r.randint(1, 20)} if len(shape) > 1 else None


def _groups(r: random.Random, shape: tuple[int, ...]) -> Options | None:
    if len(shape) < 3:
        return None
    return {"channels": shape[1], "groups": r.choice([1, shape[1]] + [2] * (shape[1] % 2 == 0))}


def _steps(r: random.Random, shape: tuple[int, ...]) -> Options | None:
    if len(shape) != 3:
        return None
    kind = r.choice(["LSTM", "GRU", "RNN"])
    return {
        "kind": kind,
        "inputs": shape[2],
        "size": r.randint(1, 9),
        "layers": r.randint(1, 2),
        "both": r.random() < 0.5,
    }


def _dims(r: random.Random, shape: tuple[int, ...]) -> Options | None:
    if len(shape) < 2:
        return None
    return {"dim": r.randint(1, len(shape) - 1), "other": r.randint(1, len(shape) - 1)}


def _window(r: random.Random, shape: tuple[int, ...]) -> Options | None:
    if len(shape) not in (3, 4, 5) or min(shape[2:]) < 2:
        return None
    return {
        "rank": len(shape) - 2,
        "kernel": r.randint(2, min(3, *shape[2:])),
        "stride": r.randint(1, 2),
        "padding": r.randint(0, 1),
        "ceil": r.random() < 0.3,
        "size": r.randint(1, 3),
    }


def _images(r: random.Random, shape: tuple[int, ...]) -> Options | None:
    if len(shape) != 4:
        return None
    return {
        "mode": r.choice(["nearest", "bilinear", "bicubic", "nearest-exact"]),
        "scale": r.choice([2.0, 1.5, 0.7]),
    }


LAYERS: dict[str, Callable[[Options], nn.Module]] = {
    "conv": lambda o: (nn.Conv1d, nn.Conv2d, nn.Conv3d)[o["rank"] - 1](
        o["inputs"], o["outputs"], o["kernel"], o["stride"], o["padding"], 1, o["groups"], o["bias"]
    ),
    "conv_transpose": lambda o: (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[
        o["rank"] - 1
    ](o["inputs"], o["outputs"], o["kernel"], o["stride"], o["padding"], 0, o["groups"], o["bias"]),
    "batch_norm": lambda o: (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[
        o["rank"]
    ](o["channels"]),
    "group_norm": lambda o: nn.GroupNorm(o["groups"], o["channels"]),
    "instance_norm": lambda o: nn.GroupNorm(o["channels"], o["channels"]),
    "layer_norm": lambda o: nn.LayerNorm(o["inputs"]),
    "linear": lambda o: nn.Linear(o["inputs"], o["outputs"]),
    "prelu": lambda o: nn.PReLU(o["channels"]),
    "recurrent": lambda o: getattr(nn, o["kind"])(
        o["inputs"], o["size"], o["layers"], batch_first=True, bidirectional=o["both"]
    ),
    "embedding": lambda o: nn.Embedding(20, o["size"]),
}

FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "relu": lambda o, x: F.relu(x),
    "relu6": lambda o, x: F.relu6(x),
    "leaky_relu": lambda o, x: F.leaky_relu(x, 0.1),
    "elu": lambda o, x: F.elu(x),
    "gelu": lambda o, x: F.gelu(x),
    "silu": lambda o, x: F.silu(x),
    "hardswish": lambda o, x: F.hardswish(x),
    "sigmoid": lambda o, x: x.sigmoid(),
    "tanh": lambda o, x: x.tanh(),
    "softplus": lambda o, x: F.softplus(x),
    "absolute": lambda o, x: x.abs() + 0.1,
    "root": lambda o, x: (x.abs() + 0.1).sqrt(),
    "add": lambda o, x, y: x + y,
    "product": lambda o, x, y: x * y,
    "difference": lambda o, x, y: x - 0.5 * y,
    "maximum": lambda o, x, y: torch.maximum(x, y),
    "quotient": lambda o, x, y: x / (y.abs() + 1),
    "choice": lambda o, x, y: torch.where(x > 0, x, y),
    "concat": lambda o, x, y: torch.cat([x, y], 1),
    "stack": lambda o, x, y: torch.stack([x, y], o["dim"]).sum(o["dim"]),
    "swap": lambda o, x: x.transpose(o["dim"], o["other"]),
    "flatten": lambda o, x: x.flatten(o["dim"]),
    "softmax": lambda o, x: x.softmax(o["dim"]),
    "mean": lambda o, x: x.mean(o["dim"], keepdim=True),
    "largest": lambda o, x: x.amax(o["dim"]),
    "variance": lambda o, x: x.var(o["dim"], unbiased=False, keepdim=True),
    "running": lambda o, x: x.cumsum(o["dim"]),
    "halves": lambda o, x: torch.cat(x.chunk(2, o["dim"])[::-1], o["dim"]),
    "first": lambda o, x: x.narrow(o["dim"], 0, max(1, x.shape[o["dim"]] // 2)),
    "roll": lambda o, x: x.roll(1, o["dim"]),
    "flip": lambda o, x: x.flip(o["dim"]),
    "squeeze": lambda o, x: x.unsqueeze(o["dim"]).squeeze(o["dim"]),
    "max_pool": lambda o, x: (F.max_pool1d, F.max_pool2d, F.max_pool3d)[o["rank"] - 1](
        x, o["kernel"], o["stride"], o["padding"], 1, o["ceil"]
    ),
    "avg_pool": lambda o, x: (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[o["rank"] - 1](
        x, o["kernel"], o["stride"], o["padding"], o["ceil"]
    ),
    "adaptive_pool": lambda o, x: (
        F.adaptive_avg_pool1d,
        F.adaptive_avg_pool2d,
        F.adaptive_avg_pool3d,
    )[o["rank"] - 1](x, o["size"]),
    "interpolate": lambda o, x: F.interpolate(x, scale_factor=o["scale"], mode=o["mode"]),
    "attention": lambda o, x: F.scaled_dot_product_attention(x, x, x),
    "gate": lambda o, x: x * x.mean(o["dim"], keepdim=True).sigmoid(),
    "matmul": lambda o, x: x @ x.transpose(-1, -2),
}

#: What options an operator has, drawn for the shape that it reads; None where it does not fit.
OPTIONS: dict[str, Maker] = {
    **dict.fromkeys(FUNCTIONS, _like),
    **dict.fromkeys(("stack", "swap", "flatten", "softmax", "mean", "largest", "variance"), _dims),
    **dict.fromkeys(("running", "halves", "first", "roll", "flip", "squeeze", "gate"), _dims),
    **dict.fromkeys(("max_pool", "avg_pool", "adaptive_pool"), _window),
    **dict.fromkeys(("conv", "conv_transpose"), _conv),
    **dict.fromkeys(("batch_norm", "prelu", "instance_norm"), _channels),
    "interpolate": _images,
    "group_norm": _groups,
    "layer_norm": _last,
    "linear": _last,
    "recurrent": _steps,
}
_OF_TWO = ("add", "product", "difference", "maximum", "quotient", "choice", "concat", "stack")
#: Drawn more often, as networks have more of them.
_COMMON = ("conv", "conv", "conv", "linear", "batch_norm", "relu", "add")


def draw(seed: int) -> Program:
    """Return a random program; the same seed gives the same one."""
    r = random.Random(seed)
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
    wanted = r.randint(2, 10)
    for _ in range(20 * wanted):
        if len(program.steps) >= wanted:
            break
        grown = _grown(program, r)
        if grown is not None:
            program = grown
    last = len(program.inputs) + len(program.steps) - 1
    program.outputs = sorted({last, r.randint(len(program.inputs), last)})
    return program


def _grown(program: Program, r: random.Random) -> Program | None:
    """Return the program with one step more, or None if what was drawn does not fit."""
    count = len(program.inputs) + len(program.steps)
    begin = len(program.inputs) if program.steps and program.steps[0][0] == "embedding" else 0
    read = [r.choice([count - 1, count - 1, r.randint(begin, count - 1)])]
    name = r.choice([*_COMMON, *OPTIONS])
    if name in _OF_TWO:
        read.append(r.randint(begin, count - 1))
    everything = dataclasses.replace(program, outputs=list(range(count)))
    with torch.no_grad():
        values = Network(everything).eval()(*program.examples())
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
