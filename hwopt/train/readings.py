"""What layers of a model read while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from hwopt.errors import HwoptError

Place = tuple[str, str]
"""A submodule, and one of the arguments of an operation of a graph; that of another module is its
first one, whatever the name."""


class Readings:
    """Keeps the tensors that submodules read in the last forward pass.

    Args:
        model: whose submodules.
        places: what to keep.

    Raises:
        HwoptError: if there is no such submodule.

    >>> import torch
    >>> model = nn.Sequential(nn.ReLU(), nn.Linear(2, 3))
    >>> readings = Readings(model, [("1", "input")])
    >>> _ = model(torch.tensor([[-1.0, 1.0]]))
    >>> readings.of(("1", "input"))
    tensor([[0., 1.]])
    """

    def __init__(self, model: nn.Module, places: Sequence[Place]) -> None:
        layers = dict(model.named_modules())
        missing = [layer for layer, _ in places if layer not in layers]
        if missing:
            raise HwoptError(f"the model has no layer {missing[0]!r} to read")
        self._read: dict[Place, Tensor] = {}
        self._hooks = [
            layers[place[0]].register_forward_pre_hook(self._keep(place)) for place in places
        ]

    def of(self, place: Place) -> Tensor:
        """Return what was read at a place, as float32."""
        return self._read[place].float()

    def stop(self) -> None:
        """Keep nothing any more."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._read.clear()

    def _keep(self, place: Place) -> Callable[[nn.Module, Any], None]:
        def keep(layer: nn.Module, arguments: Any) -> None:
            given = arguments[0]
            # The operations of a graph take their tensors by name.
            self._read[place] = given[place[1]] if isinstance(given, dict) else given

        return keep


def last_linear(model: nn.Module) -> str:
    """Return the name of the last linear layer in the order of the model, or of its graph.

    Raises:
        HwoptError: if there is none.
    """
    from hwopt.graph.module import GraphModule, Operation

    order = list(model.named_modules())
    if isinstance(model, GraphModule):
        order = [(operation.name, operation) for operation in model.operations]
    names = [
        name
        for name, module in order
        if isinstance(module, nn.Linear)
        or (isinstance(module, Operation) and module.extra_repr() == "linear")
    ]
    if not names:
        raise HwoptError("the model has no linear layer: name the layer whose input to read")
    return names[-1]
