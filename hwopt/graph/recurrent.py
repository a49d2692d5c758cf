"""A recurrent cell over time: one layer, one direction."""

from __future__ import annotations

import torch
from torch import Tensor

from hwopt.errors import HwoptError
from hwopt.graph import composed

SCHEMA = (
    "(Tensor input, Tensor? state, Tensor? memory, Tensor input_weight, Tensor hidden_weight, "
    "Tensor? input_bias, Tensor? hidden_bias, Tensor? projection, str cell, bool reverse=False) "
    "-> (Tensor, Tensor, Tensor)"
)
#: How many rows of weights a cell has for each of its numbers.
GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def recurrent(
    input: Tensor,
    state: Tensor | None,
    memory: Tensor | None,
    input_weight: Tensor,
    hidden_weight: Tensor,
    input_bias: Tensor | None,
    hidden_bias: Tensor | None,
    projection: Tensor | None,
    cell: str,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a cell over all steps of a sequence.

    It computes what ``torch.nn.LSTM``, ``GRU`` and ``RNN`` do with one layer and one direction;
    rows of the weights stand in torch's sequence (LSTM: input, forget, cell, output; GRU: reset,
    update, new).

    Args:
        input: (T, N, I), steps first.
        state: (N, P) before the first step; None for zeros.
        memory: (N, H) before the first step, of ``lstm`` only; None for zeros.
        input_weight: (gates * H, I).
        hidden_weight: (gates * H, P).
        input_bias, hidden_bias: (gates * H,), both or none.
        projection: (P, H), of ``lstm`` only; without it P is H.
        cell: ``lstm``, ``gru``, ``rnn_tanh`` or ``rnn_relu``.
        reverse: whether the last step comes first.

    Returns:
        The states of all steps (T, N, P), the state (N, P) and the memory (N, H) after the last
        one; the memory has no elements for cells that have none.

    Raises:
        HwoptError: if there is no such cell.

    >>> ones = torch.ones(1, 1)
    >>> steps = torch.tensor([1.0, 2.0]).reshape(2, 1, 1)
    >>> states, last, _ = recurrent(steps, 0 * ones, None, ones, ones, None, None, None, "rnn_relu")
    >>> states.flatten(), last
    (tensor([1., 3.]), tensor([[3.]]))
    """
    if cell not in GATES:
        raise HwoptError(f"recurrent: there is no cell {cell!r}, only {', '.join(GATES)}")
    steps = input.flip(0) if reverse else input
    if state is None:
        state = input.new_zeros(input.shape[1], hidden_weight.shape[1])
    biases = [bias for bias in (input_bias, hidden_bias) if bias is not None]
    weights = [input_weight, hidden_weight, *biases]
    weights += [] if projection is None else [projection]
    options = (bool(biases), 1, 0.0, False, False, False)
    if cell == "lstm":
        if memory is None:
            memory = input.new_zeros(input.shape[1], hidden_weight.shape[0] // GATES[cell])
        found = torch.lstm(steps, [state[None], memory[None]], weights, *options)
        output, last, kept = found[0], found[1][0], found[2][0]
    else:
        function = getattr(torch, cell)
        output, final = function(steps, state[None], weights, *options)
        last, kept = final[0], input.new_empty(0)
    return (output.flip(0) if reverse else output.clone()), last.clone(), kept.clone()


OPERATOR = composed.define(recurrent, SCHEMA)
