"""What of a network is covered is said before it is built, and is what compiling finds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import hwopt
from hwopt import targets
from hwopt.compiler.coverage import coverage


class Net(nn.Module):
    """Layers, an operator without a rule for channels, one without a gradient, a lottery."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 36, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.norm(self.conv(x)).relu().cumsum(1)
        scores = self.head(y.flatten(1))
        return scores.sign(), torch.rand_like(scores)


def test_every_operator_is_told_of():
    graph = hwopt.import_model(Net(), torch.zeros(1, 3, 8, 8))
    rows = {row.op: row for row in coverage(graph, targets.get("x86-avx2"))}
    assert sum(row.nodes for row in rows.values()) == len(graph.nodes())
    assert sum(row.macs for row in rows.values()) == graph.macs()
    assert next(iter(rows)) == "conv2d"
    assert rows["conv2d"].roads == {"register-tile": 1}
    assert rows["relu"].roads == {"loops": 1} and not rows["batch_norm"].roads
    stopped = rows["aten.cumsum.default"]
    assert stopped.stops == 1 and stopped.reasons == ["has no rule for channels"]
    lottery = rows["aten.rand_like.default"]
    assert lottery.refused == 1 and "draws lots" in lottery.reasons[-1]
    covered = {op for op, row in rows.items() if not row.refused}
    assert covered == rows.keys() - {"aten.rand_like.default"}


def test_recurrent_layers_are_written():
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(4, 8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0]

    graph = hwopt.import_model(Recurrent(), torch.zeros(5, 1, 4))
    (row,) = (row for row in coverage(graph, targets.get("host")) if row.op == "recurrent")
    assert (row.nodes, row.stops, row.untrained, row.refused) == (2, 0, 0, 0)
    assert row.roads == {"written": 2}
