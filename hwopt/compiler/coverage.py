"""What of a network hwopt can prune, train and compile, operator by operator, before it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from hwopt.compiler.lower import lower
from hwopt.compiler.pipeline import to_kernels, unscheduled
from hwopt.compiler.prepare import PREPARATION
from hwopt.errors import HwoptError, first_line
from hwopt.graph import Graph, Node, Operand, Parameter, Value, operators
from hwopt.graph.module import Operation
from hwopt.passes import apply
from hwopt.passes.channels import label_channels
from hwopt.targets import templates, tvm_build

if TYPE_CHECKING:
    from hwopt.targets import Target

#: The road of a kernel that no template covers: MetaSchedule's search, or its default schedule.
SEARCH = "search"


@dataclass
class OperatorCoverage:
    """One operator of a network.

    Attributes:
        op: its name.
        nodes, macs: how many there are, and their multiply-accumulates at batch 1.
        stops: nodes at which the channels cannot be followed, so that those that they read stay.
        untrained: nodes of floats that hand no gradient on.
        refused: nodes that cannot be compiled.
        roads: how kernels are made: the template's name, or ``search``; by nodes.
        reasons: for what is not covered, each once.
    """

    op: str
    nodes: int = 0
    macs: int = 0
    stops: int = 0
    untrained: int = 0
    refused: int = 0
    roads: dict[str, int] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def note(self, reason: str) -> None:
        """Keep a reason once, without the node's name."""
        if reason not in self.reasons:
            self.reasons.append(reason)


def coverage(graph: Graph, target: Target) -> list[OperatorCoverage]:
    """Return what is covered of a graph; nothing is tuned or built.

    Every node is lowered by itself. In a network neighbours become one kernel, so the roads are
    those of the operators; nodes that preparation takes out (batch norms behind convolutions,
    constants) are counted as they are imported.

    Args:
        graph: the network.
        target: for which kernels would be made.

    Returns:
        One entry an operator, those with the most multiply-accumulates first.

    >>> import hwopt
    >>> from hwopt import targets
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
    >>> rows = coverage(hwopt.import_model(net, torch.zeros(1, 3, 8, 8)), targets.get("host"))
    >>> [(row.op, row.nodes, row.roads) for row in rows]
    [('conv2d', 1, {'register-tile': 1}), ('relu', 1, {'loops': 1})]
    """
    rows: dict[str, OperatorCoverage] = {}
    stops = label_channels(graph).stops
    needed = {node.name for node in apply(graph, PREPARATION).nodes()}
    roads: dict[str, tuple[list[str], str]] = {}
    for node in graph.nodes():
        row = rows.setdefault(node.op, OperatorCoverage(node.op))
        row.nodes += 1
        row.macs += operators.get(node.op).macs(graph.spec, node)
        if node.name in stops:
            row.stops += 1
            row.note(stops[node.name].replace(f"{node.name} ({node.op}) ", ""))
        trained, why_not = _is_trained(graph, node)
        if not trained:
            row.untrained += 1
        if why_not:
            row.note(why_not)
        if node.name in needed:
            alone = _alone(graph, node)
            key = alone.to_text()
            if key not in roads:
                roads[key] = _roads(alone, target)
            found, reason = roads[key]
            for road in found:
                row.roads[road] = row.roads.get(road, 0) + 1
            if reason:
                row.refused += 1
                row.note(reason)
    return sorted(rows.values(), key=lambda row: (-row.macs, -row.nodes))


def _alone(graph: Graph, node: Node) -> Graph:
    """Return a graph of one node; what it reads are inputs called by their places."""
    alone = Graph("node")
    names: dict[Operand, Operand] = {}
    for _, operand in node.flat_operands():
        if operand in names:
            continue
        if isinstance(operand, Parameter):
            names[operand] = operand
            alone.set_parameter(operand.name, graph.parameter(operand.name))
        else:
            names[operand] = alone.add_input(f"value_{len(names)}", graph.spec(operand))
    moved = node.mapped(lambda operand: names[operand]).replace(name="node")
    alone.add_node("node", moved.op, moved.operands, moved.attributes)
    alone.infer_shapes()
    for index in range(len(alone.node("node").outputs)):
        alone.outputs[f"output_{index}"] = Value("node", index)
    return alone


def _roads(alone: Graph, target: Target) -> tuple[list[str], str]:
    """Return how the kernels of a node would be made, or why it cannot be compiled."""
    try:
        with tvm_build.tvm_target(target), tvm_build.pass_context():
            kernels = unscheduled(to_kernels(lower(alone), target))
            found = [templates.find(func, target) for func in kernels.values()]
    except HwoptError as error:
        return [], str(error).replace("node 'node'", "it").replace("value_", "input ")
    names = [SEARCH if template is None else template.name for template in found]
    # Of several kernels, such as an order of axes and a product, the product counts.
    return sorted(names, key=_rank)[-1:], ""


def _rank(road: str) -> int:
    return {"loops": 0, "written": 2, SEARCH: 3}.get(road, 1)


def _is_trained(graph: Graph, node: Node) -> tuple[bool, str]:
    """Say whether a node of floats hands a gradient on, and what torch says if it does not run.

    A node without floats has none to hand on, and stops nothing.
    """
    if not any("float" in spec.dtype for spec in node.outputs):
        return True, ""
    wanted: list[torch.Tensor] = []

    def tensor(operand: Parameter | Value) -> torch.Tensor:
        spec = graph.spec(operand)
        if "float" not in spec.dtype:
            return torch.zeros(spec.at(), dtype=getattr(torch, spec.dtype))
        found = torch.rand(spec.at(), dtype=getattr(torch, spec.dtype))
        if isinstance(operand, Value) or not graph.is_buffer(operand.name):
            wanted.append(found.requires_grad_())
        return found

    operands = {
        role: [None if one is None else tensor(one) for one in given]
        if isinstance(given, tuple)
        else tensor(given)
        for role, given in node.operands.items()
    }
    if not wanted:
        return True, ""
    try:
        results = Operation(node).eval()(operands, 1)
    except (RuntimeError, NotImplementedError, IndexError) as error:
        return False, f"torch does not run it on random numbers: {first_line(error)}"
    return any(one.requires_grad for one in _listed(results)), ""


def _listed(results: torch.Tensor | list[torch.Tensor]) -> Iterator[torch.Tensor]:
    yield from results if isinstance(results, list | tuple) else (results,)
