"""The steps of random networks: layers and functions, and how their options are drawn."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Options = dict[str, Any]
Maker = Callable[[random.Random, tuple[int, ...]], Options | None]


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

#: They read two values.
OF_TWO = ("add", "product", "difference", "maximum", "quotient", "choice", "concat", "stack")
