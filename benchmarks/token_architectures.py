"""Small versions of networks on tokens: attention, mixing and embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 5


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            y = functional.scaled_dot_product_attention(q, k, v)
        else:
            weights = (q @ k.transpose(-2, -1)) * (width // self.heads) ** -0.5
            y = weights.softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(batch, tokens, -1))


class TransformerBlock(nn.Module):
    def __init__(self, width: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, fused=fused)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    def __init__(self, *, fused: bool = True) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 24))
        self.positions = nn.Parameter(torch.randn(1, 17, 24) * 0.1)
        self.blocks = nn.Sequential(*(TransformerBlock(24, 4, fused=fused) for _ in range(2)))
        self.norm, self.fc = nn.LayerNorm(24), nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.fc(self.norm(self.blocks(x))[:, 0])


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.tokens = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))
        self.channels = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16))
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norm2(x))
        return self.fc(x.mean(1))


class TextTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(50, 16), nn.Embedding(12, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 40, batch_first=True, norm_first=True)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.positions(torch.arange(12))
        return self.fc(self.layer(x).mean(1))


class WindowAttention(nn.Module):
    """Attention within windows of a rolled image; an MLP computes what positions add (Swin v2)."""

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.register_buffer("table", torch.randn(side**4, 2))
        self.bias = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, rows, columns, width = x.shape
        side, tokens, shift = self.side, self.side**2, self.side // 2
        x = torch.roll(x, (-shift, -shift), (1, 2))
        x = x.reshape(batch, rows // side, side, columns // side, side, width)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, tokens, width)
        qkv = self.qkv(x).reshape(-1, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mask = x.new_zeros((tokens, tokens))
        mask[0] = -1.0
        weights = q @ k.transpose(-2, -1) + self.bias(self.table).reshape(tokens, tokens)
        x = ((weights + mask).softmax(-1) @ v).transpose(1, 2).reshape(-1, tokens, width)
        x = self.out(x).reshape(batch, rows // side, columns // side, side, side, -1)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, -1)
        return torch.roll(x, (shift, shift), (1, 2))


class ShiftedWindows(nn.Module):
    """Two blocks as in Swin, with names as in RegNet."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 2, 2)
        for i in range(2):
            mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
            self.add_module(f"block-{i}", nn.ModuleList([WindowAttention(16, 2, 4), mlp]))
        self.norm, self.fc = nn.LayerNorm(16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)
        for i in range(2):
            part = self.get_submodule(f"block-{i}")
            attention, mlp = part.get_submodule("0"), part.get_submodule("1")
            x = x + attention(functional.layer_norm(x, (x.shape[-1],)))
            x = x + mlp(functional.layer_norm(x, (x.shape[-1],)))
        return self.fc(self.norm(x).mean((1, 2)))
