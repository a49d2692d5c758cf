"""Random networks as graphs: every block reads values that earlier blocks made."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from hwopt.graph import Batch, Graph, Parameter, TensorSpec, Value

SIZE = 6
KINDS = (
    "conv",
    "grouped",
    "depthwise",
    "norm",
    "group-norm",
    "sigmoid",
    "residual",
    "product",
    "concat",
    "split",
    "gate",
    "shuffle",
    "pool",
    "slice",
)

#: (kind of block, what it reads, a number that it may use) for every block.
blocks = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=9
)


def build(drawn, seed: int) -> Graph:
    """Return a graph with one image input and logits as its output."""
    builder = _Builder(seed)
    value = builder.conv(builder.graph.add_input("x", TensorSpec((Batch(), 3, SIZE, SIZE))), 6)
    values = [value]
    for kind, source, number in drawn:
        read = values[-1 - source % len(values)]
        values.append(builder.block(kind)(read, values[number % len(values)]))
    pooled = builder.add("mean", {"self": values[-1]}, {"dim": (2, 3)})
    weight = builder.tensor("fc.weight", 4, builder.c(values[-1]))
    builder.graph.outputs["output"] = builder.add(
        "linear", {"input": pooled, "weight": weight, "bias": builder.tensor("fc.bias", 4)}, {}, 4
    )
    builder.graph.infer_shapes()
    return builder.graph


class _Builder:
    def __init__(self, seed: int) -> None:
        self.graph = Graph("random")
        self.generator = torch.Generator().manual_seed(seed)
        self.channels: dict[Value, int] = {}

    def block(self, kind: str):
        return getattr(self, "plain" if kind == "conv" else kind.replace("-", "_"))

    def c(self, value: Value) -> int:
        return self.channels.get(value, 3)

    def tensor(self, name: str, *shape: int, positive: bool = False) -> Parameter:
        tensor = torch.randn(shape, generator=self.generator) * 0.5
        name = self.graph.unique_name(name)
        self.graph.set_parameter(name, tensor.abs() + 0.5 if positive else tensor)
        return Parameter(name)

    def add(self, op, operands, attributes=None, channels=0) -> Value:
        value = self.graph.add_node(self.graph.unique_name(op + "0"), op, operands, attributes)
        self.channels[value] = channels
        return value

    def conv(self, read, channels, groups=1, kernel=3) -> Value:
        weight = self.tensor("w", channels, self.c(read) // groups, kernel, kernel)
        attributes = {"padding": (kernel // 2,) * 2, "groups": groups}
        operands = {"input": read, "weight": weight, "bias": self.tensor("b", channels)}
        return self.add("conv2d", operands, attributes, channels)

    # Every block takes what it reads and another value that it may read.

    def plain(self, read, other):
        return self.conv(read, 3 + self.c(other) % 5)

    def grouped(self, read, other):
        groups = 2 if self.c(read) % 2 == 0 else 1
        return self.conv(read, 6, groups, kernel=1)

    def depthwise(self, read, other):
        return self.conv(read, 2 * self.c(read) if self.c(read) < 8 else self.c(read), self.c(read))

    def norm(self, read, other):
        c = self.c(read)
        operands = {
            "input": read,
            "weight": self.tensor("gamma", c),
            "bias": self.tensor("beta", c),
            "running_mean": self.tensor("mean", c),
            "running_var": self.tensor("var", c, positive=True),
        }
        for role in ("running_mean", "running_var"):
            name = operands[role].name
            self.graph.set_parameter(name, self.graph.parameter(name), trainable=False)
        return self.add("batch_norm", operands, {"momentum": 0.1, "eps": 1e-5}, c)

    def group_norm(self, read, other):
        c = self.c(read)
        operands = {"input": read, "weight": self.tensor("g", c), "bias": self.tensor("s", c)}
        return self.add("group_norm", operands, {"num_groups": 2 if c % 2 == 0 else 1}, c)

    def sigmoid(self, read, other):
        return self.add("sigmoid", {"self": read}, {}, self.c(read))

    def residual(self, read, other):
        if self.c(other) != self.c(read):
            other = self.conv(other, self.c(read), kernel=1)
        return self.add("add", {"self": read, "other": other}, {}, self.c(read))

    def product(self, read, other):
        """Times a map that depends on the input, the same for all channels."""
        single = self.conv(Value("x"), 1, kernel=1)
        return self.add("mul", {"self": read, "other": single}, {}, self.c(read))

    def concat(self, read, other):
        channels = self.c(read) + self.c(other)
        if channels > 24:
            return self.conv(read, 5)
        return self.add("concat", {"tensors": (read, other)}, {"dim": 1}, channels)

    def split(self, read, other):
        c = self.c(read)
        if c < 2:
            return self.conv(read, 4)
        first = self.add("chunk", {"self": read}, {"chunks": 2, "dim": 1}, (c + 1) // 2)
        second = Value(first.node, 1)
        self.channels[second] = c - (c + 1) // 2
        changed = self.conv(second, 4)
        return self.add("concat", {"tensors": (changed, first)}, {"dim": 1}, 4 + self.c(first))

    def gate(self, read, other):
        c = self.c(read)
        pooled = self.add("mean", {"self": read}, {"dim": (2, 3), "keepdim": True}, c)
        gate = self.sigmoid(self.conv(self.conv(pooled, 3, kernel=1), c, kernel=1), None)
        return self.add("mul", {"self": read, "other": gate}, {}, c)

    def shuffle(self, read, other):
        c = self.c(read)
        if c % 2:
            return self.sigmoid(read, other)
        shape = (Batch(), 2, c // 2, SIZE, SIZE)
        x = self.add("reshape", {"self": read}, {"shape": shape}, c)
        x = self.add("transpose", {"self": x}, {"dim0": 1, "dim1": 2}, c)
        return self.add("reshape", {"self": x}, {"shape": (Batch(), c, SIZE, SIZE)}, c)

    def pool(self, read, other):
        attributes = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1)}
        return self.add("avg_pool2d", {"self": read}, attributes, self.c(read))

    def slice(self, read, other):
        c = self.c(read)
        if c < 4:
            return self.conv(read, 4)
        return self.add("slice", {"self": read}, {"dim": 1, "start": 1, "end": c - 1}, c - 2)
