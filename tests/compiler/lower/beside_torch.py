"""A function compiled, beside what torch computes."""

import torch
from torch import nn

import hwopt


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def check(function, *inputs):
    """Compare with torch: numbers, shapes, dtypes, and where there is NaN."""
    model = function if isinstance(function, nn.Module) else Call(function)
    model.eval()
    found = hwopt.compile(model, inputs, kernel_trials=0)(*inputs)
    expected = model(*inputs)
    pairs = zip(
        found if isinstance(found, tuple) else (found,),
        expected if isinstance(expected, tuple) else (expected,),
        strict=True,
    )
    for got, wanted in pairs:
        torch.testing.assert_close(got, wanted.detach(), equal_nan=True, rtol=1e-4, atol=1e-5)
