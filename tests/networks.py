"""Networks with the structures that graphs and passes must get right."""

from __future__ import annotations

import torch
from torch import nn

from hwopt.compiler.prepare import prepare


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.act(self.stem_norm(self.stem(x)))
        y = self.act(self.norm1(self.conv1(x)))
        y = self.conv2(y)
        y += x
        return self.fc(self.act(y).mean((2, 3)))


class Concat(nn.Module):
    """A dense block, and a flatten with several positions for every channel."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.b = nn.Conv2d(6, 5, 3, padding=1)
        self.c = nn.Conv2d(11, 4, 1)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(4 * 16, 5)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        a = torch.relu(self.a(x))
        ab = torch.cat([a, torch.relu(self.b(a))], 1)
        c = self.pool(self.c(ab))
        return self.fc(self.drop(c.view(c.size(0), -1)))


class Depthwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.point = nn.Conv2d(3, 8, 1)
        self.depth = nn.Conv2d(8, 16, 3, padding=1, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.scale = nn.Parameter(torch.rand(16, 1, 1) + 0.5)
        self.out = nn.Conv2d(16, 6, 1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))

    def forward(self, x):
        x = nn.functional.relu6(self.norm(self.depth(self.point(x)))) * self.scale
        return self.head(self.out(x).sigmoid())


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.down = nn.Conv2d(8, 2, 1)
        self.up = nn.Conv2d(2, 8, 1)
        self.out = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = nn.functional.silu(self.conv(x))
        gate = torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))
        return self.out(x * gate).mean((2, 3))


class Grouped(nn.Module):
    """Holds what cannot be pruned: a grouped convolution, and channels that are rolled."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.b = nn.Conv2d(8, 6, 3, padding=1)
        self.c = nn.Conv2d(6, 6, 1)
        self.fc = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x):
        x = self.b(torch.relu(self.grouped(self.a(x))))
        return self.fc(self.c(torch.roll(x, (1, 2), (1, 3))).amax((2, 3)))


class Attention(nn.Module):
    """A class token that is expanded to the batch, as vision transformers have it."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        return self.fc(self.layer(x)[:, 0])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 6)
        self.b = nn.Linear(6, 6)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


class SeveralOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x, y):
        left, right = torch.chunk(self.fc(x) * self.fc(x), 2, 1)
        values, indices = torch.topk(right + y, 1)
        return {"left": left, "best": (values, indices)}


def lowered(model: nn.Module, inputs: tuple[torch.Tensor, ...]):
    """Return a model in Relax, as it is compiled."""
    return prepare(model, inputs).lowered()


IMAGE = (3, 8, 8)
IMAGE_NETWORKS = (Residual, Concat, Depthwise, SqueezeExcite, Grouped, Attention)


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give batch norms statistics that are not 0 and 1, so that folding is seen."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model


def make(network: type[nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return randomize(network(), seed).eval()


def max_difference(first, second) -> float:
    firsts = first if isinstance(first, tuple) else (first,)
    seconds = second if isinstance(second, tuple) else (second,)
    assert len(firsts) == len(seconds)
    largest = [(a - b).abs().max() for a, b in zip(firsts, seconds, strict=True)]
    # Not Python's: its max passes over a NaN.
    return torch.stack(largest).max().item()
