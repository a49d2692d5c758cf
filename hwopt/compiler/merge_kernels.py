"""Two kernels that become one: the second alone reads what the first writes."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from hwopt.compiler.bindings import bindings, readers, with_bindings
from hwopt.targets import Target, templates


def merge_kernels(mod: tvm.IRModule, target: Target) -> tvm.IRModule:
    """Merge kernels that a template wants as one, until there are no more."""
    pairs = _pairs(mod, target)
    if not pairs:
        return mod
    builder = relax.BlockBuilder(mod)
    merged = {
        consumer.var: _call_of_both(builder, producer, consumer) for producer, consumer in pairs
    }
    dropped = {producer.var for producer, _ in pairs}

    def change(binding: Any) -> Any:
        if binding.var in dropped:
            return None
        call = merged.get(binding.var)
        return binding if call is None else relax.VarBinding(binding.var, call)

    mod = with_bindings(builder.get(), change)
    fuse = [relax.transform.FuseTIR(), relax.transform.DeadCodeElimination()]
    return merge_kernels(tvm.transform.Sequential(fuse)(mod), target)


def _pairs(mod: tvm.IRModule, target: Target) -> list[tuple[Any, Any]]:
    """Return (producer, consumer) bindings to merge, the last first; no kernel is in two pairs."""
    made_by = {v: b for v, b in bindings(mod["main"]).items() if is_kernel_call(b.value)}
    count = readers(mod["main"])
    pairs: list[tuple[Any, Any]] = []
    taken: set[Any] = set()
    for consumer in reversed(made_by.values()):
        first, *others = consumer.value.args[1].fields
        producer = made_by.get(first)
        if producer is None or taken & {producer.var, consumer.var}:
            continue
        if count[first] != 1 or any(first.same_as(other) for other in others):
            continue
        one, other = mod[producer.value.args[0]], mod[consumer.value.args[0]]
        if templates.can_merge(one, other, target):
            pairs.append((producer, consumer))
            taken |= {producer.var, consumer.var}
    return pairs


def is_kernel_call(value: Any) -> bool:
    """Return whether a bound value is the call of a kernel."""
    return isinstance(value, relax.Call) and value.op == tvm.ir.Op.get("relax.call_tir")


def _call_of_both(builder: Any, producer: Any, consumer: Any) -> Any:
    """Add a function that calls both kernels, to be fused, and return a call of it."""
    first, second = producer.value, consumer.value
    arguments = [*first.args[1].fields, *list(second.args[1].fields)[1:]]
    params = [relax.Var(f"p{i}", argument.ty) for i, argument in enumerate(arguments)]
    count = len(first.args[1].fields)
    name = f"{first.args[0].name_hint}_{second.args[0].name_hint}"
    with builder.function(name, params, attrs={"Primitive": True}, private=True):
        with builder.dataflow():
            between = builder.emit(
                relax.call_tir(first.args[0], relax.Tuple(params[:count]), producer.var.ty)
            )
            rest = relax.Tuple([between, *params[count:]])
            result = builder.emit_output(relax.call_tir(second.args[0], rest, consumer.var.ty))
        builder.emit_func_output(result)
    var = builder.get().get_global_var(name)
    return relax.Call(var, arguments)
