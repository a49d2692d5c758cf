import numpy as np
import pytest
import torch

import hwopt
from hwopt import models, targets
from hwopt.compiler.graph_latency import GraphLatency
from hwopt.compiler.kernels_of import kernels_of
from hwopt.errors import HwoptError
from hwopt.passes import Context
from hwopt.passes.prune_channels import PruneChannels
from hwopt.prediction.kernel_predictor import KernelPredictor
from hwopt.prediction.measure_table import MEMORY, grid, measure_table
from hwopt.prediction.network_predictor import FEWEST_NETWORKS
from hwopt.prediction.predictor import Predictor
from hwopt.targets.database import own_folder
from hwopt.targets.kernel_shape import KernelShape
from hwopt.targets.latency_table import KernelCalls, LatencyTable
from tests.kernels import EACH_WIDTH
from tests.search import small

HOST = targets.get("host", threads=1)


def conv(rows, inputs, outputs):
    """A kernel of a made-up kind, whose time is a law with two terms."""
    sizes = (rows, rows, outputs, inputs, rows * rows * outputs, 3, 4 * inputs * outputs)
    us = 1e-4 * rows * rows * inputs * outputs + 2e-3 * rows * rows * outputs + 0.5
    return KernelShape("conv", sizes), us


def known_kernels(seed=0, count=60):
    random = np.random.default_rng(seed)
    draws = random.integers(1, 9, (count, 3)) * [4, 8, 8]
    return dict(conv(*map(int, draw)) for draw in draws)


@pytest.fixture
def table(tmp_path):
    found = LatencyTable(HOST, tmp_path)
    found.add_kernels(known_kernels())
    return found


def test_kernels_never_seen_follow_the_law_of_their_kind():
    predict = KernelPredictor(known_kernels())
    unseen = known_kernels(seed=1).items() - known_kernels().items()
    assert len(unseen) > 30
    errors = [predict(shape).us / us - 1 for shape, us in unseen]
    assert np.median(np.abs(errors)) < 0.03
    assert not any(predict(shape).measured for shape, _ in unseen)


def test_a_kernel_that_was_measured_takes_what_was_measured(table):
    shape, us = next(iter(table.kernels.items()))
    found = KernelPredictor(table.kernels)(shape)
    assert found.us == us and found.measured


@pytest.mark.slow
def test_a_foreign_kind_is_known_to_be_unsure(table):
    predict = KernelPredictor(table.kernels)
    assert predict(KernelShape("sort", (1000, 4000))).spread > 0.5
    prediction = Predictor(table).of_kernels([KernelCalls(KernelShape("sort", (1000, 4000)), 1)])
    assert prediction.high_ms > 2 * prediction.low_ms and prediction.measured == 0


def test_networks_tell_what_the_sum_of_kernels_leaves_out(table):
    random = np.random.default_rng(0)
    shapes = list(table.kernels)

    def drawn():
        picked = random.choice(len(shapes), 6, replace=False)
        return tuple(
            KernelCalls(shapes[i], int(n))
            for i, n in zip(picked, random.integers(1, 4, 6), strict=True)
        )

    def truth(kernels):
        us = sum(table.kernels[shape] * calls for shape, calls in kernels)
        return (
            1.2 * us + 0.05 * sum(shape.sizes[-1] * calls for shape, calls in kernels) / 1e3 + 3
        ) / 1e3

    sums = Predictor(table).of_kernels(drawn())
    for kernels in (drawn() for _ in range(3 * FEWEST_NETWORKS)):
        table.add_network(kernels, truth(kernels))
    predictor = Predictor(table)
    for kernels in (drawn() for _ in range(10)):
        found = predictor.of_kernels(kernels)
        assert found.ms == pytest.approx(truth(kernels), rel=0.03)
        assert found.low_ms < truth(kernels) < found.high_ms
        assert found.measured == 1
    # Before, it was less sure.
    assert found.high_ms / found.low_ms < sums.high_ms / sums.low_ms


def test_an_empty_table_is_one_sentence(tmp_path):
    with pytest.raises(
        HwoptError, match=r"the latency table of host is empty: see `hwopt targets measure"
    ):
        Predictor(LatencyTable(HOST, tmp_path))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = models.create("resnet8", input_shape=(1, 12, 12), num_classes=3, width=8)
    return hwopt.import_model(model, torch.zeros(1, 1, 12, 12))


def test_in_a_grid_neighbouring_groups_have_all_pairs_of_widths(network):
    networks = [network, *grid(network, levels=3, multiple=1)]
    assert len(networks) == 9
    pruning = PruneChannels(ratio=0.0)
    first, second, third, *_ = pruning.rank(network, Context()).named_groups()
    widths = [
        tuple(n.parameter(f"{name}.weight").shape[0] for name in (first, second, third))
        for n in networks
    ]
    for one, other in ((0, 1), (1, 2)):
        assert len({(width[one], width[other]) for width in widths}) == 9
    with pytest.raises(HwoptError, match="levels must be a prime number, not 4"):
        grid(network, levels=4, multiple=1)


@pytest.mark.slow
@pytest.mark.parametrize("target", EACH_WIDTH, ids=lambda target: target.name)
def test_a_table_is_made_resumed_and_predicts(tmp_path, monkeypatch, target):
    monkeypatch.setenv("HWOPT_HOME", str(tmp_path))
    # Two widths for each of two groups: widths are multiples of a vector.
    model = small.network(width=2 * target.float_lanes)
    network = hwopt.import_model(model, torch.zeros(1, 1, 12, 12))
    told = []
    measure_table(
        network, target, levels=2, kernel_trials=1, report=lambda *done: told.append(done)
    )
    assert told[0] == (0, 3) and told[-1] == (3, 3)
    table = LatencyTable(target)
    assert len(table.networks) == 4
    shapes = {shape for kernels in table.networks for shape, _ in kernels}
    assert set(table.kernels) <= shapes  # what has one schedule only is not timed
    kernels = tuple(sorted(kernels_of(network, target)))
    assert kernels in table.networks

    # All is known now: nothing is compiled, nothing measured.
    def measured(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(GraphLatency, "_measure", measured)
    measure_table(network, target, levels=2, kernel_trials=1)
    assert (own_folder(target) / MEMORY).exists()
    prediction = Predictor(table)(network)
    assert 0.5 < prediction.measured <= 1
    assert prediction.low_ms < prediction.ms < prediction.high_ms


def test_an_emulated_or_unreachable_device_has_no_table(network):
    with pytest.raises(HwoptError, match="an emulator's: they make no table"):
        measure_table(network, targets.get("emulated-aarch64"))
    with pytest.raises(HwoptError, match="nothing says how to reach raspberry-pi-4"):
        measure_table(network, targets.get("raspberry-pi-4"))
