"""The network in which removed channels are held at their constant, run node by node by torch."""

from __future__ import annotations

import torch

from hwopt.graph import Batch, Parameter, Value
from hwopt.graph.module import Operation
from hwopt.passes.channels import Kept

LAYERS = ("conv1d", "conv2d", "conv3d", "linear", "embedding", "conv_transpose2d")
OUTPUT_AXIS = {"conv_transpose2d": 1, "embedding": 1}


def held(kept: Kept, *inputs: torch.Tensor, border: bool = True):
    """Return the outputs in float64; without ``border`` removed channels add their mean."""
    graph = _in_float64(kept.labels.graph)
    values = {Value(n): _double(x) for n, x in zip(graph.inputs, inputs, strict=True)}
    batch = inputs[0].shape[0]

    def read(operand):
        if isinstance(operand, tuple):
            return [read(one) for one in operand]
        if isinstance(operand, Parameter):
            return graph.parameter(operand.name)
        return None if operand is None else values[operand]

    def removed(value):
        labels = kept.labels.values.get(value)
        return None if labels is None else torch.from_numpy(~kept.of(labels))

    for node in graph.nodes():
        operands = {role: read(operand) for role, operand in node.operands.items()}
        run = Operation(node).eval()
        mask = removed(Value(node.name))
        reads = any(True for _ in node.values())
        mixes = reads and node.op in LAYERS and node.name not in kept.labels.separate
        if mixes and node.op != "embedding" and removed(node.input) is not None:
            operands["input"] = _zero_where_it_varies(
                operands["input"], removed(node.input), graph.spec(node.input)
            )
        if node.op in ("layer_norm", "group_norm"):
            result = _normalized(kept, node, operands, mask, run, batch)
        elif not border and mixes and node.op != "embedding":
            gone = removed(node.input)
            x = operands["input"]
            zero = x.new_zeros(())
            left = run(
                {**operands, "input": x if gone is None else torch.where(gone, zero, x)}, batch
            )
            result = left
            if gone is not None:
                only = {**operands, "input": torch.where(gone, x, zero).contiguous()}
                added = run({r: o for r, o in only.items() if r != "bias"}, batch)
                axis = added.dim() - 1 if node.op == "linear" else 1
                others = [d for d in range(1, added.dim()) if d != axis]
                result = left + (added.mean(others, keepdim=True) if others else added)
        else:
            result = run(operands, batch)
        if mixes and mask is not None:
            result = torch.where(mask, _constant(graph, node, mask), result)
        for output, tensor in enumerate(result if isinstance(result, list | tuple) else [result]):
            values[Value(node.name, output)] = tensor
    outputs = tuple(read(operand) for operand in graph.outputs.values())
    return outputs[0] if len(outputs) == 1 else outputs


def _double(tensor):
    return tensor.double() if tensor.is_floating_point() else tensor


def _in_float64(graph):
    graph = graph.copy()
    for name, tensor in graph.parameters.items():
        graph.set_parameter(name, _double(tensor))
    return graph


def _zero_where_it_varies(x, removed, spec):
    """A removed channel that depends on the input, as behind a product, counts as zero."""
    batches = [(d, b) for d, b in enumerate(spec.shape) if isinstance(b, Batch)]
    if not batches:
        return x  # computed from parameters alone
    axis, batch = batches[0]
    apart = x.unflatten(axis, (batch.multiple, -1))
    first = apart.narrow(axis + 1, 0, 1)
    varies = ((apart - first).abs() > 1e-10).any(axis + 1, keepdim=True)
    varies = varies.expand(apart.shape).reshape(x.shape)
    return torch.where(removed & varies, x.new_zeros(()), x)


def _constant(graph, node, mask):
    weight = graph.parameter(node.parameter("weight"))
    bias = node.parameter("bias")
    axis = OUTPUT_AXIS.get(node.op, 0)
    constant = weight.new_zeros(weight.shape[axis]) if bias is None else graph.parameter(bias)
    if node.op == "embedding":
        constant = weight.mean(0)
    users = graph.users(node.name)
    if [user.op for user in users] == ["batch_norm"] and users[0].parameter("running_mean"):
        behind = users[0]
        dead = weight.transpose(0, axis).flatten(1).abs().sum(1) == 0
        mean = graph.parameter(behind.parameter("running_mean"))
        constant = torch.where(dead, constant, mean)
    return constant.reshape([-1 if size > 1 else 1 for size in mask.shape])


def _normalized(kept, node, operands, mask, run, batch):
    """Normalize what is left; the others hold the shift."""
    x = operands["input"]
    if mask is None or not mask.any():
        return run(operands, batch)
    axis = next(d for d, size in enumerate(mask.shape) if size > 1)
    stays = (~mask).reshape(-1).nonzero().reshape(-1)
    cut = {r: o.index_select(0, stays) for r, o in operands.items() if r != "input"}
    if node.op == "layer_norm":
        assert axis == x.dim() - 1
        small = run.__class__(node.with_attributes(normalized_shape=(len(stays),)))
    elif kept.labels.whole_parts:
        groups = node.attributes["num_groups"] * len(stays) // x.shape[1]
        small = run.__class__(node.with_attributes(num_groups=groups))
    else:
        small = run
    normalized = small({**cut, "input": x.index_select(axis, stays)}, batch)
    shift = operands.get("bias")
    shape = [-1 if d == axis else 1 for d in range(x.dim())]
    filled = torch.zeros_like(x) if shift is None else shift.reshape(shape).expand(x.shape).clone()
    return filled.index_copy(axis, stays, normalized)
