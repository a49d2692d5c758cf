"""``fold-affine``: chains of products with constants, and sums, become one of each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hwopt.graph import Node, Parameter, Value
from hwopt.graph.cleanup import remove_unused
from hwopt.graph.types import Operands
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.fold_batch_norm import scale_and_shift

if TYPE_CHECKING:
    from hwopt.graph import Graph


@dataclass(frozen=True)
class FoldAffine(Pass):
    """Write every chain of batch norms, products with and sums of constants as scale * x + shift.

    What a sum of two values gets added is moved into a chain before the sum. The constants are
    computed in float64. They are trained no more, so fold after training. What precedes a batch
    norm that is a convolution is left to ``fold-batch-norm``, which should come first.

    >>> import hwopt
    >>> class Steps(torch.nn.Module):
    ...     def forward(self, x):
    ...         return ((x + 1.0) * 2.0 - 3.0) / 4.0
    >>> graph = hwopt.import_model(Steps(), torch.zeros(1, 3))
    >>> print(hwopt.apply(graph, "fold-affine").to_text())
    graph Steps {
      input x: f32[N, 3]
      buffer div.scale: f32[]
      buffer div.shift: f32[]
      div.scaled: f32[N, 3] = mul(%x, other=@div.scale)
      div.shifted: f32[N, 3] = add(%div.scaled, other=@div.shift)
      return output=%div.shifted
    }
    <BLANKLINE>
    """

    name = "fold-affine"
    preserves_function = True

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with chains as one product and one sum at most."""
        chains, moved = _chains(graph)
        written = {name: chain for name, chain in chains.items() if _is_worth_it(graph, chain)}
        if not written:
            return PassResult(graph, modified=False)
        result, notes = graph.copy(), []
        for value, total in moved.items():
            result.replace_uses(value, total)
        ends: dict[Value, Value] = {}
        for name, chain in written.items():
            source = ends.get(chain.source, chain.source)
            ends[Value(name)] = _write(result, name, dataclasses.replace(chain, source=source))
            message = f"{len(chain.nodes)} nodes: at most one product and one sum"
            notes.append(Note(name, message, changed=True))
        remove_unused(result)
        result.infer_shapes()
        return PassResult(result, modified=True, notes=tuple(notes))


@dataclass(frozen=True)
class _Chain:
    """scale * source + shift; both float64 and of a shape that the source's contains.

    Attributes:
        nodes: the names of those that it stands for.
    """

    source: Value
    scale: torch.Tensor
    shift: torch.Tensor
    nodes: tuple[str, ...]


def _chains(graph: Graph) -> tuple[dict[str, _Chain], dict[Value, Value]]:
    """Return the longest chains by the name of their last node, in the order of the graph.

    And the values that are those of a sum, because what was added to it has been moved before it.
    """
    chains: dict[str, _Chain] = {}
    moved: dict[Value, Value] = {}
    for node in graph.nodes():
        chain = _single(graph, node)
        if chain is None:
            continue
        alone = _has_one_reader(graph, chain.source)
        chain = dataclasses.replace(chain, source=moved.get(chain.source, chain.source))
        before = chain.source.node
        joined = _joined(chains[before], chain) if alone and before in chains else None
        if joined is not None:
            del chains[before]
            chains[node.name] = joined
        elif alone and _is_one(chain.scale) and _moved_before_sum(graph, chains, chain):
            moved[Value(node.name)] = chain.source
        else:
            chains[node.name] = chain
    return chains, moved


def _single(graph: Graph, node: Node) -> _Chain | None:
    """Return what one node multiplies its input by and adds to it; None for any other."""
    if node.op == "batch_norm":
        if node.parameter("running_mean") is None or node.attributes.get("training"):
            return None
        shape = (-1, *[1] * (len(node.output.shape) - 2))
        scale, shift = (numbers.view(shape) for numbers in scale_and_shift(graph, node))
        return _Chain(node.input, scale, shift, (node.name,))
    if node.op not in ("add", "sub", "mul", "div") or not node.output.dtype.startswith("float"):
        return None
    sides = [_side(graph, node, role) for role in ("self", "other")]
    values = [side for side in sides if isinstance(side, Value)]
    if len(values) != 1 or graph.spec(values[0]) != node.output:
        return None
    first, number = isinstance(sides[0], Value), sides[1 if isinstance(sides[0], Value) else 0]
    if not isinstance(number, torch.Tensor):
        return None
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    alpha = node.attributes.get("alpha", 1)
    if node.op == "add":
        scale, shift = (one, number * alpha) if first else (one * alpha, number)
    elif node.op == "sub":
        scale, shift = (one, -number * alpha) if first else (-one * alpha, number)
    elif node.op == "mul":
        scale, shift = number, zero
    elif first and bool((number != 0).all()):
        scale, shift = 1 / number, zero
    else:
        return None
    return _Chain(values[0], scale, shift, (node.name,))


def _side(graph: Graph, node: Node, role: str) -> Value | torch.Tensor | None:
    """Return a value, or a constant in float64."""
    operand = node.operands.get(role)
    if isinstance(operand, Value):
        return operand
    if isinstance(operand, Parameter):
        return graph.parameter(operand.name).double()
    number = node.attributes.get(role)
    return torch.tensor(number, dtype=torch.float64) if isinstance(number, int | float) else None


def _joined(first: _Chain, second: _Chain) -> _Chain | None:
    """Return both as one; None if their constants are larger together."""
    scale = first.scale * second.scale
    shift = first.shift * second.scale + second.shift
    largest = max(t.numel() for c in (first, second) for t in (c.scale, c.shift))
    if max(scale.numel(), shift.numel()) > largest:
        return None
    return _Chain(first.source, scale, shift, first.nodes + second.nodes)


def _moved_before_sum(graph: Graph, chains: dict[str, _Chain], chain: _Chain) -> bool:
    """Add a shift to a chain that only the sum before it reads; say whether there is one."""
    total = graph.producer(chain.source)
    if total.op != "add" or total.attributes.get("alpha", 1) != 1:
        return False
    for _, value in total.values():
        known = chains.get(value.node)
        if known is None or not _has_one_reader(graph, value):
            continue
        if graph.spec(value) != total.output:
            continue
        shift = known.shift + chain.shift
        if shift.numel() > max(known.scale.numel(), known.shift.numel()):
            continue
        nodes = known.nodes + chain.nodes
        chains[value.node] = dataclasses.replace(known, shift=shift, nodes=nodes)
        return True
    return False


def _has_one_reader(graph: Graph, value: Value) -> bool:
    users = graph.users(value.node)
    reads = [read for user in users for _, read in user.values() if read == value]
    return len(reads) == 1 and value not in graph.outputs.values()


def _is_one(tensor: torch.Tensor) -> bool:
    return bool((tensor == 1).all())


def _is_worth_it(graph: Graph, chain: _Chain) -> bool:
    """Return whether a chain has more nodes than it needs, or a batch norm."""
    needed = int(not _is_one(chain.scale)) + int(bool((chain.shift != 0).any()))
    has_norm = any(graph.node(name).op == "batch_norm" for name in chain.nodes)
    return has_norm or len(chain.nodes) > needed


def _write(graph: Graph, name: str, chain: _Chain) -> Value:
    """Put the product and the sum in the place of a chain that ends at ``name``; return its end."""
    dtype = getattr(torch, graph.node(name).output.dtype)
    value = chain.source
    parts = (("mul", "scale", "scaled", 1.0), ("add", "shift", "shifted", 0.0))
    for op, role, what, neutral in parts:
        numbers: torch.Tensor = getattr(chain, role)
        if bool((numbers == neutral).all()):
            continue
        constant = graph.unique_name(f"{name}.{role}")
        graph.set_parameter(constant, numbers.to(dtype).clone(), trainable=False)
        operands: dict[str, Operands] = {"self": value, "other": Parameter(constant)}
        value = graph.add_node(graph.unique_name(f"{name}.{what}"), op, operands)
    graph.replace_uses(Value(name), value)
    return value
