"""LSTM, GRU and RNN: torch's own where that is the same, else step by step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from hwopt.graph.onnx.node import OnnxNode
from hwopt.graph.onnx.operator import OnnxOperator
from hwopt.graph.onnx.values import OnnxValue, is_known, tensor

#: Which gate of ONNX's stands where in torch's weights.
_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
#: Where each operand stands: input, weights, biases, lengths, states, peepholes.
_X, _W, _R, _B, _LENGTHS, _H, _C, _P = range(8)

_ACTIVATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "relu": lambda x, a, b: x.relu(),
    "tanh": lambda x, a, b: x.tanh(),
    "sigmoid": lambda x, a, b: x.sigmoid(),
    "affine": lambda x, a, b: a * x + b,
    "leakyrelu": lambda x, a, b: F.leaky_relu(x, a),
    "thresholdedrelu": lambda x, a, b: torch.where(x > a, x, torch.zeros_like(x)),
    "scaledtanh": lambda x, a, b: a * torch.tanh(b * x),
    "hardsigmoid": lambda x, a, b: (a * x + b).clamp(0, 1),
    "elu": lambda x, a, b: F.elu(x, a),
    "softsign": lambda x, a, b: F.softsign(x),
    "softplus": lambda x, a, b: F.softplus(x),
}
_ALPHA = {"leakyrelu": 0.01, "thresholdedrelu": 1.0, "hardsigmoid": 0.2, "elu": 1.0}
_BETA = {"hardsigmoid": 0.5}


def _is_torchs(node: OnnxNode, given: list[OnnxValue]) -> bool:
    """Return whether torch has this layer: usual activations, no peepholes, whole sequences."""
    names = [name.lower() for name in node.get("activations", [])]
    directions = 2 if node.get("direction") == "bidirectional" else 1
    usual = [name.lower() for name in _DEFAULTS[node.op]] * directions
    same = not names or names == usual or (node.op == "RNN" and set(names) == {"relu"})
    same = same and (given[_P] is None or (is_known(given[_P]) and not np.any(given[_P])))
    same = same and node.get("clip") is None and not node.get("input_forget", 0)
    if node.op == "GRU" and not node.get("linear_before_reset", 0):
        return False
    return same and given[_LENGTHS] is None


def _filled(given: tuple[OnnxValue, ...] | list[OnnxValue]) -> list[OnnxValue]:
    return [*given, *[None] * (8 - len(given))]


def _without_full_lengths(node: OnnxNode, given: list[OnnxValue]) -> list[OnnxValue]:
    """Leave out lengths that are all that of the whole sequence."""
    lengths, x = given[_LENGTHS], given[_X]
    if isinstance(lengths, np.ndarray) and isinstance(x, torch.Tensor):
        steps = x.shape[1 if node.get("layout", 0) else 0]
        if isinstance(steps, int) and (lengths == steps).all():
            given[_LENGTHS] = None
    return given


def torch_weights(node: OnnxNode, given: list[OnnxValue]) -> list[torch.Tensor]:
    """Return weights as torch has them: of each direction for inputs, for the state, biases."""
    w, r = tensor(given[_W]), tensor(given[_R])
    size, order = r.shape[2], _GATES[node.op]

    def ordered(x: torch.Tensor) -> torch.Tensor:
        parts = x.split(size, 0)
        return torch.cat([parts[gate] for gate in order])

    found = []
    for direction in range(w.shape[0]):
        found += [ordered(w[direction]), ordered(r[direction])]
        if given[_B] is not None:
            both = tensor(given[_B])[direction]
            found += [ordered(half) for half in both.split(len(order) * size)]
    return found


def prepare(node: OnnxNode, given: list[Any]) -> tuple[OnnxNode, list[Any], dict[int, str]] | None:
    """Put known weights in torch's order; the inputs are then x, states, and weights.

    Returns:
        The node, its inputs, and the roles of the weights; None where that cannot be.
    """
    given = _filled(given)
    weights = [given[n] for n in (_W, _R, _B)]
    if not all(v is None or isinstance(v, np.ndarray) for v in weights) or not _is_torchs(
        node, given
    ):
        return None
    found = [one.contiguous().numpy() for one in torch_weights(node, given)]
    names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    each = names[: 2 if given[_B] is None else 4]
    directions = ("", "_reverse")[: len(found) // len(each)]
    roles = [f"{name}{direction}" for direction in directions for name in each]
    inputs = [given[_X], given[_H], given[_C], *found]
    named = dataclasses.replace(node, op=f"{node.op}.torch")
    return named, inputs, dict(enumerate(roles, 3))


def _torchs(node: OnnxNode, x: OnnxValue, h: OnnxValue, c: OnnxValue, *weights: OnnxValue) -> Any:
    """Run the layer of torch, and turn its results."""
    kind = node.op.partition(".")[0]
    steps = tensor(x).transpose(0, 1) if node.get("layout", 0) else tensor(x)
    given = [tensor(one) for one in weights]
    both = node.get("direction") == "bidirectional"
    directions, size = (2 if both else 1), given[1].shape[1]
    backward = node.get("direction") == "reverse"
    if backward:
        steps = steps.flip(0)
    states = []
    for state in (h, c)[: 2 if kind == "LSTM" else 1]:
        if state is None:
            states.append(torch.zeros(directions, steps.shape[1], size, dtype=steps.dtype))
        else:
            states.append(tensor(state).transpose(0, 1) if node.get("layout", 0) else tensor(state))
    relu = "relu" in [name.lower() for name in node.get("activations", [])]
    name = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn_relu" if relu else "rnn_tanh"}[kind]
    options = (len(given) // directions == 4, 1, 0.0, False, both, False)
    first = tuple(states) if kind == "LSTM" else states[0]
    found, *last = getattr(torch, name)(steps, first, given, *options)
    found = found.unflatten(2, (directions, size)).permute(0, 2, 1, 3)
    return _as_asked(node, found.flip(0) if backward else found, last)


def _as_asked(node: OnnxNode, found: torch.Tensor, last: list[torch.Tensor]) -> Any:
    """Return results with the batch where ``layout`` says; (steps, directions, batch, size)."""
    if node.get("layout", 0):
        found, last = found.permute(2, 0, 1, 3), [one.transpose(0, 1) for one in last]
    return (found, *last)


def _layer(node: OnnxNode, *inputs: OnnxValue) -> Any:
    given = _without_full_lengths(node, _filled(inputs))
    if _is_torchs(node, given):
        weights = torch_weights(node, given)
        return _torchs(node, given[_X], given[_H], given[_C], *weights)
    return _StepByStep(node, given).run()


class _StepByStep:
    """A layer with peepholes, lengths, limits or other activations, written out."""

    def __init__(self, node: OnnxNode, given: list[OnnxValue]) -> None:
        self.node, self.given = node, given
        x = tensor(given[_X])
        self.x = x.transpose(0, 1) if node.get("layout", 0) else x
        self.size = tensor(given[_R]).shape[2]
        self.directions = tensor(given[_W]).shape[0]

    def run(self) -> Any:
        """Return all outputs and the last states."""
        runs = [self.direction(d) for d in range(self.directions)]
        found = torch.stack([outputs for outputs, _ in runs], 1)
        last = [torch.stack(states) for states in zip(*(states for _, states in runs), strict=True)]
        return _as_asked(self.node, found, last)

    def state(self, position: int, direction: int) -> torch.Tensor:
        value = self.given[position]
        if value is None:
            return torch.zeros(self.x.shape[1], self.size, dtype=self.x.dtype)
        found = tensor(value)
        return (found.transpose(0, 1) if self.node.get("layout", 0) else found)[direction]

    def direction(self, d: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        steps, kind = self.x.shape[0], self.node.op
        states = [self.state(_H, d)] + [self.state(_C, d)] * (kind == "LSTM")
        lengths = self.given[_LENGTHS]
        backward = d == 1 or self.node.get("direction") == "reverse"
        outputs: list[Any] = [None] * steps
        for t in reversed(range(steps)) if backward else range(steps):
            new = getattr(self, kind.lower())(self.x[t], states, d)
            outputs[t] = new[0]
            if lengths is not None:
                goes_on = (t < tensor(lengths)).unsqueeze(1)
                new = [torch.where(goes_on, a, b) for a, b in zip(new, states, strict=True)]
                outputs[t] = torch.where(goes_on, outputs[t], torch.zeros_like(outputs[t]))
            states = new
        return torch.stack(outputs), states

    def products(self, d: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        w, r = tensor(self.given[_W])[d], tensor(self.given[_R])[d]
        count = w.shape[0]
        both = self.given[_B]
        bias = torch.zeros(2 * count, dtype=w.dtype) if both is None else tensor(both)[d]
        return w, r, bias[:count], bias[count:]

    def activation(self, d: int, number: int, x: torch.Tensor) -> torch.Tensor:
        clip = self.node.get("clip")
        if clip is not None:
            x = x.clamp(-clip, clip)
        defaults = _DEFAULTS[self.node.op]
        names = self.node.get("activations") or list(defaults) * self.directions
        place = d * len(defaults) + number
        name = names[place].lower()
        if name not in _ACTIVATIONS:
            raise self.node.refuse(f"the activation {names[place]}")
        alphas, betas = self.node.get("activation_alpha", []), self.node.get("activation_beta", [])
        alpha = alphas[place] if place < len(alphas) else _ALPHA.get(name, 1.0)
        beta = betas[place] if place < len(betas) else _BETA.get(name, 0.0)
        return _ACTIVATIONS[name](x, alpha, beta)

    def rnn(self, x: torch.Tensor, states: list[torch.Tensor], d: int) -> list[torch.Tensor]:
        w, r, wb, rb = self.products(d)
        return [self.activation(d, 0, F.linear(x, w, wb) + F.linear(states[0], r, rb))]

    def gru(self, x: torch.Tensor, states: list[torch.Tensor], d: int) -> list[torch.Tensor]:
        (h,) = states
        w, r, wb, rb = self.products(d)
        size = self.size
        of_x = F.linear(x, w, wb)
        z, reset = (
            self.activation(d, 0, of_x[:, part] + F.linear(h, r[part], rb[part]))
            for part in (slice(0, size), slice(size, 2 * size))
        )
        if self.node.get("linear_before_reset", 0):
            inner = reset * F.linear(h, r[2 * size :], rb[2 * size :])
        else:
            inner = F.linear(reset * h, r[2 * size :], rb[2 * size :])
        new = self.activation(d, 1, of_x[:, 2 * size :] + inner)
        return [(1 - z) * new + z * h]

    def lstm(self, x: torch.Tensor, states: list[torch.Tensor], d: int) -> list[torch.Tensor]:
        h, c = states
        w, r, wb, rb = self.products(d)
        i, o, f, g = (F.linear(x, w, wb) + F.linear(h, r, rb)).split(self.size, 1)
        peep = self.given[_P]
        pi, po, pf = (0, 0, 0) if peep is None else tensor(peep)[d].split(self.size)
        i = self.activation(d, 0, i + pi * c)
        f = 1 - i if self.node.get("input_forget", 0) else self.activation(d, 0, f + pf * c)
        memory = f * c + i * self.activation(d, 1, g)
        o = self.activation(d, 0, o + po * memory)
        return [o * self.activation(d, 2, memory), memory]


OPERATORS: dict[str, OnnxOperator] = {
    **{
        name: OnnxOperator(
            _layer, weights={1: "weight_ih", 2: "weight_hh", 3: "bias"}, plain=(4,), prepare=prepare
        )
        for name in _GATES
    },
    **{f"{name}.torch": OnnxOperator(_torchs) for name in _GATES},
}
