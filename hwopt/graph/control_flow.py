"""Control flow of an exported program, written out: branches, loops of known length, regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from hwopt.errors import HwoptError
from hwopt.graph.fx_nodes import where
from hwopt.graph.symbols import NotABatchMultiple, batch_multiple
from hwopt.graph.types import Batch, Operand, Value

if TYPE_CHECKING:
    from hwopt.graph.program import Builder

#: Longer loops are not written out, turn by turn.
MOST_TURNS = 256
_UNKNOWN = object()


def is_control_flow(node: fx.Node) -> bool:
    """Say whether a node calls graphs."""
    return isinstance(node.target, torch._ops.HigherOrderOperator)


def add_control_flow(builder: Builder, node: fx.Node) -> tuple[Operand, ...]:
    """Add what a node that calls graphs computes; return its results.

    Raises:
        HwoptError: if the length of a loop depends on data, or the operator is another one.
    """
    kind = str(node.target)
    if kind not in _KINDS:
        raise HwoptError(f"{where(node)}: {kind} (control flow) is not supported")
    return _KINDS[kind](builder, node)


def _cond(builder: Builder, node: fx.Node) -> tuple[Operand, ...]:
    """Both branches; an artefact computes the one that is asked for (``hwopt.graph.cond``)."""
    predicate, then, otherwise, operands = _arguments(node)
    if isinstance(predicate, bool):
        return builder.inline(_graph(then if predicate else otherwise), operands)
    if predicate not in builder.read:
        raise HwoptError(
            f"{where(node)}: the branch depends on a size, which a graph cannot: fix the sizes"
        )
    sides = [builder.inline(_graph(side), operands) for side in (then, otherwise)]
    results: Any = node.meta["val"]
    return tuple(
        one if one == other else _choice(builder, node, predicate, one, other, result)
        for one, other, result in zip(*sides, results, strict=True)
    )


def _choice(
    builder: Builder,
    node: fx.Node,
    predicate: fx.Node,
    then: Operand,
    otherwise: Operand,
    result: torch.Tensor,
) -> Value:
    asked = builder.read[predicate]
    if result.dim() == 0:
        operands = {"condition": asked, "self": then, "other": otherwise}
        return builder.add(node, "where", operands, {})
    one = builder.add(node, "reshape", {"self": asked}, {"shape": (1,)})
    rows = builder.add(node, "expand", {"self": one}, {"size": (batch_multiple(result.shape[0]),)})
    return builder.add(node, "cond", {"predicate": rows, "then": then, "otherwise": otherwise}, {})


def _map(builder: Builder, node: fx.Node) -> tuple[Operand, ...]:
    body, rows, others = _arguments(node)
    turns = [
        builder.inline(_graph(body), [*slices, *others]) for slices in _slices(builder, node, rows)
    ]
    return tuple(_stacked(builder, node, parts) for parts in zip(*turns, strict=True))


def _scan(builder: Builder, node: fx.Node) -> tuple[Operand, ...]:
    body, carried, rows, others = _arguments(node)
    state: Sequence[Any] = carried
    collected = []
    for slices in _slices(builder, node, rows):
        results = builder.inline(_graph(body), [*state, *slices, *others])
        state = results[: len(carried)]
        collected.append(results[len(carried) :])
    stacked = [_stacked(builder, node, parts) for parts in zip(*collected, strict=True)]
    return tuple(builder.operand(one) for one in (*state, *stacked))


def _while_loop(builder: Builder, node: fx.Node) -> tuple[Operand, ...]:
    """As many turns as the condition says, which may depend on what is known only."""
    condition, body, carried, others = _arguments(node)
    known = [_known(builder, argument) for argument in (*carried, *others)]
    state: Sequence[Any] = carried
    turns = 0
    while True:
        (goes_on,) = _run(_graph(condition), known)
        if goes_on is _UNKNOWN:
            raise HwoptError(
                f"{where(node)}: how often the loop runs depends on the numbers that it "
                "reads, which a compiled model cannot follow: give it a fixed number of turns"
            )
        if not bool(goes_on):
            return tuple(map(builder.operand, state))
        _check_turns(builder, node, turns := turns + 1)
        state = builder.inline(_graph(body), [*state, *others])
        known = [*_run(_graph(body), known), *known[len(carried) :]]


def _region(builder: Builder, node: fx.Node) -> tuple[Operand, ...]:
    """The operators of a part of the model that gradients or memory are handled differently in."""
    graph, *operands = (argument for argument in node.args if isinstance(argument, fx.Node))
    return builder.inline(_graph(graph), operands)


def _autocast(builder: Builder, node: fx.Node) -> tuple[Operand, ...]:
    _, dtype, enabled, _, graph, *_ = node.args
    if enabled:
        name = str(dtype).removeprefix("torch.") if dtype else "half precision"
        assert isinstance(graph, fx.Node)
        inner = next(n for n in _graph(graph).graph.nodes if n.op == "call_function")
        raise HwoptError(
            f"{where(inner)}: autocast computes in {name}, which a compiled model does not: "
            "import the model without it"
        )
    return _region(builder, node)


_KINDS: dict[str, Callable[[Any, fx.Node], tuple[Operand, ...]]] = {
    "cond": _cond,
    "map_impl": _map,
    "scan": _scan,
    "while_loop": _while_loop,
    "wrap_with_autocast": _autocast,
    **dict.fromkeys(
        ("wrap_with_set_grad_enabled", "wrap_activation_checkpoint", "tag_activation_checkpoint"),
        _region,
    ),
}


def _arguments(node: fx.Node) -> tuple[Any, ...]:
    return (*node.args, *node.kwargs.values())


def _graph(node: fx.Node) -> fx.GraphModule:
    """Return the graph that an attribute of the program holds."""
    owner: Any = node.graph.owning_module
    found = owner.get_submodule(str(node.target))
    assert isinstance(found, fx.GraphModule)
    return found


def _slices(builder: Builder, node: fx.Node, rows: Sequence[fx.Node]) -> Iterator[list[Operand]]:
    """Yield the rows of several tensors."""
    count = batch_multiple(rows[0].meta["val"].shape[0])
    if isinstance(count, Batch):
        raise NotABatchMultiple(f"of the turns of {where(node)}")
    _check_turns(builder, node, count)
    for index in range(count):
        yield [
            builder.add(node, "select", {"self": builder.read[row]}, {"dim": 0, "index": index})
            for row in rows
        ]


def _check_turns(builder: Builder, node: fx.Node, turns: int) -> None:
    if turns > MOST_TURNS:
        raise HwoptError(
            f"{where(node)}: a loop of more than {MOST_TURNS} turns, which are written out, "
            "is not supported"
        )


def _stacked(builder: Builder, node: fx.Node, parts: Sequence[Operand]) -> Value:
    return builder.add(node, "stack", {"tensors": tuple(parts)}, {"dim": 0})


def _known(builder: Builder, argument: Any) -> Any:
    """Return the tensor or number that an argument is whatever the inputs are, or unknown."""
    if not isinstance(argument, fx.Node):
        return argument
    if argument.op == "placeholder":
        return builder.constants.get(argument, _UNKNOWN)
    if argument.op != "call_function":
        return _UNKNOWN
    return _called(argument, lambda read: _known(builder, read))


def _run(graph: fx.GraphModule, values: Sequence[Any]) -> list[Any]:
    """Return what is known of a graph's results."""
    known: dict[fx.Node, Any] = {}
    given = iter(values)
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            known[node] = next(given)
        elif node.op == "call_function":
            known[node] = _called(node, known.__getitem__)
        elif node.op == "output":
            returned: Any = node.args[0]
            listed = returned if isinstance(returned, list | tuple) else (returned,)
            return [known[v] if isinstance(v, fx.Node) else v for v in listed]
        else:
            known[node] = _UNKNOWN
    raise AssertionError("a graph has an output")


def _called(node: fx.Node, read: Callable[[fx.Node], Any]) -> Any:
    """Return a known result of a call, whose arguments are all known."""
    values = {argument: read(argument) for argument in node.all_input_nodes}
    if any(value is _UNKNOWN for value in values.values()) or is_control_flow(node):
        return _UNKNOWN
    target: Any = node.target
    with torch.no_grad():
        args = fx.map_arg(node.args, values.__getitem__)
        return target(*args, **fx.map_arg(node.kwargs, values.__getitem__))
