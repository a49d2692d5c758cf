"""Variance-reduced steps: their means, special cases, and VCSG's rules."""

import itertools

import pytest
import torch
from torch import nn

from hwopt.errors import HwoptError
from hwopt.optim import VCSG, VarianceReduced
from hwopt.optim.vcsg import batch_sizes


def closure_of(optimizer, w, x, y):
    """Return the closure of the mean of x (w - y)^2 / 2."""

    def closure():
        optimizer.zero_grad()
        loss = (x * (w - y) ** 2).mean() / 2
        loss.backward()
        return loss

    return closure


#: Two samples, (w)^2 / 2 and 3 (w - 2)^2 / 2.
X, Y = torch.tensor([1.0, 3.0]).double(), torch.tensor([0.0, 2.0]).double()


def direction(sample, bias, estimator=None, at=1.0, snapshot=2.0):
    """Return along what a step with one of the samples goes."""
    w = nn.Parameter(torch.tensor([snapshot]).double())
    optimizer = VarianceReduced([w], lr=1.0, bias=bias, estimator=estimator)
    optimizer.snapshot(closure_of(optimizer, w, X[i : i + 1], Y[i : i + 1]) for i in range(2))
    w.data.fill_(at)
    chosen = slice(sample, sample + 1)
    optimizer.step(closure_of(optimizer, w, X[chosen], Y[chosen]))
    return at - w.item()


@pytest.mark.parametrize(
    ("estimator", "bias", "expected"),
    [
        ("unbiased", 0.0, (1.0, -3.0)),
        ("unbiased", 0.25, (0.5, -2.0)),
        ("unbiased", 0.5, (0.0, -1.0)),
        ("unbiased", 0.75, (-0.5, 0.0)),
        ("biased", 0.0, (-1.0, -3.0)),
        ("biased", 0.25, (-0.5, -2.0)),
        ("biased", 0.5, (0.0, -1.0)),
        ("biased", 0.75, (0.5, 0.0)),
        (None, 0.25, (0.5, -2.0)),
        (None, 0.75, (0.5, 0.0)),
    ],
)
def test_two_samples(estimator, bias, expected):
    found = [direction(sample, bias, estimator) for sample in range(2)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("bias", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_means_over_all_samples(bias):
    here, there = -1.0, 1.0  # the gradients of the mean loss at 1 and at 2
    unbiased = sum(direction(sample, bias, "unbiased") for sample in range(2)) / 2
    assert unbiased == pytest.approx((1 - bias) * here)
    biased = sum(direction(sample, bias, "biased") for sample in range(2)) / 2
    assert biased == pytest.approx((1 - bias) * here + (2 * bias - 1) * there)


def test_at_the_snapshot_biased_steps_are_all_alike():
    found = [direction(sample, 0.8, "biased", at=2.0) for sample in range(2)]
    assert found == pytest.approx([0.8 * 1.0] * 2)


def test_half_a_step_of_svrg_converges_where_sgd_does_not():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(50, generator=generator, dtype=torch.float64) + 0.5
    y = torch.randn(50, generator=generator, dtype=torch.float64)
    best = ((x * y).sum() / x.sum()).item()
    distances = []
    for bias in (0.0, 0.5):
        w = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = VarianceReduced([w], lr=0.3, bias=bias)
        for _ in range(30):
            optimizer.snapshot([closure_of(optimizer, w, x, y)])
            for chosen in torch.randperm(50, generator=generator).split(5):
                optimizer.step(closure_of(optimizer, w, x[chosen], y[chosen]))
        distances.append(abs(w.item() - best))
    assert distances[1] < 1e-8 < 1e-3 < distances[0]


def test_random_layers_draw_the_same_and_statistics_are_those_of_the_weights():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    optimizer = VarianceReduced(model.parameters(), 0.1, bias=0.5, buffers=model.buffers())
    x, drawn = torch.randn(16, 4), []
    model[2].register_forward_hook(lambda layer, given, result: drawn.append(result != 0))

    def closure():
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss

    optimizer.snapshot([closure])
    assert int(model[1].num_batches_tracked) == 0
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step(closure)
    assert torch.equal(drawn[-1], drawn[-2]) and int(model[1].num_batches_tracked) == 1
    # At the snapshot with half of the correction, a step is along half of the mean gradient.
    for parameter, old in zip(model.parameters(), before, strict=True):
        expected = old - 0.1 * 0.5 * optimizer.state[parameter]["mean"]
        assert torch.allclose(parameter, expected, atol=1e-6)


def test_saved_and_loaded_it_goes_on_exactly():
    def train(is_resumed):
        w = nn.Parameter(torch.zeros(1).double())
        optimizer = VCSG([w], num_samples=2, smoothness=1.0)
        for outer in range(5):
            if is_resumed and outer == 3:
                state = optimizer.state_dict()
                optimizer = VCSG([w], num_samples=2, smoothness=1.0)
                optimizer.load_state_dict(state)
            closures = [closure_of(optimizer, w, X[i : i + 1], Y[i : i + 1]) for i in range(2)]
            optimizer.snapshot(closures)
            for closure in closures:
                optimizer.step(closure)
        return w.detach(), optimizer.batch_size

    assert train(True) == train(False)


def test_rules_of_vcsg():
    """The exponents, the limits of the snapshot, and what the smaller candidate decides."""
    n = 60_000
    biased = [batch_sizes(v, n, 1e-3)[0] for v in (0.8, 1.6)]
    assert biased[1] / biased[0] == pytest.approx(2 ** (32 / 27), rel=1e-3)
    for variance, tolerance in itertools.product((1e-9, 1.0, 1e9), (1e-9, 1.0, 1e9)):
        for found in batch_sizes(variance, n, tolerance):
            assert round(n**0.88) <= found <= round(n**0.995)
    w = nn.Parameter(torch.zeros(1))
    optimizer = VCSG([w], n, smoothness=0.25, tolerance=1e-3)
    rates = []
    for variance in (1.0, 1.0, 1.0, 1.0, 1e9):
        optimizer._choose(variance)
        group = optimizer.param_groups[0]
        rates.append((group["bias"], group["lr"], optimizer.batch_size))
    slow, fast = (1 / (0.75 * n**power) for power in (5 / 32, 3 / 32))
    expected = [
        (0.0, fast, n),
        (0.0, fast, n),
        (0.0, fast, 23065),  # the third snapshot is of all samples, the next one is not
        (0.75, fast, 23065),
        (0.5, slow, round(n**0.995)),
    ]
    assert [value for found in rates for value in found] == pytest.approx(
        [value for each in expected for value in each]
    )


def test_the_variance_is_that_of_a_samples_gradient(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.ones(4096).double(), torch.randn(4096, generator=generator).double()
    w = nn.Parameter(torch.zeros(1).double())
    optimizer, found = VCSG([w], 4096, smoothness=1.0), []
    monkeypatch.setattr(optimizer, "_choose", found.append)
    chunks = torch.arange(4096).split(optimizer.mini_batch_size)[:-1]
    optimizer.snapshot(closure_of(optimizer, w, x[c], y[c]) for c in chunks)
    assert found[0] == pytest.approx(1.0, rel=0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: VarianceReduced(p, 0.0), "step size must be positive, not 0.0"),
        (lambda p: VarianceReduced(p, 0.1, bias=1.5), r"bias must be in \[0, 1\], not 1.5"),
        (lambda p: VCSG(p, 1, 0.1), "num_samples must be at least 2"),
        (lambda p: VCSG(p, 10, 0.1, tolerance=0.0), "tolerance must be positive, not 0.0"),
    ],
)
def test_bad_numbers(make, message):
    with pytest.raises(HwoptError, match=message):
        make([nn.Parameter(torch.zeros(1))])


def test_steps_need_a_snapshot_and_a_snapshot_needs_samples():
    w = nn.Parameter(torch.zeros(1))
    optimizer = VarianceReduced([w], 0.1)
    with pytest.raises(HwoptError, match="needs a snapshot before"):
        optimizer.step(lambda: w.sum())
    with pytest.raises(HwoptError, match="a mini-batch at least"):
        optimizer.snapshot([])
