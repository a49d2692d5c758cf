"""The largest of few numbers, without TVM's sort: its call costs more than the comparisons."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from hwopt.compiler.loops import is_float, is_nan

#: Of more numbers all pairs are too many.
MOST = 64


def legalize(builder: relax.BlockBuilder, call: relax.Call) -> Any:
    """Compute ``relax.topk`` by counting for each number those that come before it.

    Of equal numbers the first one comes first; NaN is larger than all others. Values and indices
    are kernels of their own, so that one that nobody reads is not computed.
    """
    attrs = call.attrs
    (data,) = call.args
    shape = [int(extent) for extent in data.ty.shape]
    axis = int(attrs.axis) % len(shape)
    count = shape[axis]
    if count > MOST:
        return call
    wanted = int(attrs.k) if 1 <= int(attrs.k) <= count else count
    found_shape = [*shape[:axis], wanted, *shape[axis + 1 :]]

    def moved(index: tuple[Any, ...], to: Any) -> tuple[Any, ...]:
        return (*index[:axis], to, *index[axis + 1 :])

    def places(numbers: Any) -> Any:
        def before(*index: Any) -> Any:
            other = te.reduce_axis((0, count), "other")
            this, that = numbers(*index), numbers(*moved(index, other))
            larger = that > this if attrs.largest else that < this
            equal = that == this
            if is_float(this):
                ahead, behind = (that, this) if attrs.largest else (this, that)
                larger = tirx.any(larger, tirx.all(is_nan(ahead), tirx.Not(is_nan(behind))))
                equal = tirx.any(equal, tirx.all(is_nan(this), is_nan(that)))
            is_before = tirx.any(larger, tirx.all(equal, other < index[axis]))
            return te.sum(tirx.Select(is_before, 1, 0), other)

        return te.compute(shape, before, "places")

    def values(numbers: Any, place: Any) -> Any:
        return at_places(lambda found: numbers(*found), place, numbers.dtype)

    def indices(place: Any) -> Any:
        dtype = str(attrs.dtype)
        return at_places(lambda found: found[axis].astype(dtype), place, dtype)

    def at_places(what: Any, place: Any, dtype: str) -> Any:
        def chosen(*index: Any) -> Any:
            source = te.reduce_axis((0, count), "source")
            found = moved(index, source)
            is_it = place(*found) == index[axis].astype("int32")
            return te.sum(tirx.Select(is_it, what(found), tirx.const(0, dtype)), source)

        return te.compute(found_shape, chosen, "chosen")

    place = builder.emit(builder.call_te(places, data, primfunc_name_hint="topk_places"))
    made = {
        "values": lambda: builder.call_te(values, data, place, primfunc_name_hint="topk_values"),
        "indices": lambda: builder.call_te(indices, place, primfunc_name_hint="topk_indices"),
    }
    if (only := str(attrs.ret_type)) in made:
        return made[only]()
    return relax.Tuple([builder.emit(make()) for make in made.values()])
