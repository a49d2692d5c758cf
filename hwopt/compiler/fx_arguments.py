"""Arguments of a call in an exported program."""

from __future__ import annotations

from typing import Any


def arguments(node: Any) -> dict[str, Any]:
    """Return all arguments of a torch.fx node by their names in the operator's schema.

    Those that the call leaves out have the operator's defaults.

    >>> import torch
    >>> graph = torch.fx.Graph()
    >>> x = graph.placeholder("x")
    >>> call = graph.call_function(torch.ops.aten.amax.default, (x, [1]))
    >>> arguments(call)
    {'self': x, 'dim': [1], 'keepdim': False}
    """
    found = {}
    for place, argument in enumerate(node.target._schema.arguments):
        default = node.kwargs.get(argument.name, argument.default_value)
        found[argument.name] = node.args[place] if place < len(node.args) else default
    return found
