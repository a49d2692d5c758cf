import numpy as np
import pytest
import torch

import hwopt
from hwopt import models, peers
from hwopt.errors import HwoptError


class Signs(torch.nn.Module):
    """A binary convolution and a binary linear layer: whole numbers, the same in any order."""

    def __init__(self):
        super().__init__()
        self.kernel = torch.nn.Parameter(torch.randn(5, 3, 3, 3).sign())
        self.matrix = torch.nn.Parameter(torch.randn(7, 5 * 36).sign())

    def forward(self, x):
        y = torch.ops.hwopt.binary_conv2d(x, self.kernel)
        return torch.ops.hwopt.binary_linear(y.flatten(1), self.matrix)


class Bessel(torch.nn.Module):
    """A function that ONNX has not."""

    def forward(self, x):
        return torch.special.bessel_j0(x)


QUICK = ("onnxruntime", "openvino", "executorch", "torch", "tvm")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = models.create("resnet8", width=4).eval()
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype("float32")
    graph = hwopt.import_model(model, torch.zeros(1, 3, 32, 32), name="resnet8")
    with torch.no_grad():
        return graph, x, model.double()(torch.from_numpy(x).double()).numpy()


def difference(name, network, folder):
    graph, x, expected = network
    (output,) = peers.make(name, graph, (x,), 2, folder)()
    return np.abs(torch.as_tensor(output).numpy() - expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_float32_peers_agree_with_torch(name, network, tmp_path):
    if not peers.available(name):
        pytest.skip(f"{name} is not installed: {peers.install_hint(name)}")
    assert difference(name, network, tmp_path) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnxruntime-int8", "openvino-int8", "openvino-bf16"])
def test_other_precisions_differ_but_not_much(name, network, tmp_path):
    assert 0 < difference(name, network, tmp_path) < 0.1 * np.abs(network[2]).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch.compile", "torch.compile-max-autotune"])
def test_inductor_agrees_with_torch(name, network, tmp_path):
    assert difference(name, network, tmp_path) < 1e-5


@pytest.mark.slow
def test_what_inductor_compiled_stays_when_more_is_compiled(tmp_path):
    calls = []
    for width in (4, 8):
        model = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.ReLU())
        x = np.ones((1, 3), "float32")
        graph = hwopt.import_model(model, torch.from_numpy(x))
        calls.append(peers.make("torch.compile-max-autotune", graph, (x,), 1, tmp_path))
    with torch.compiler.set_stance("fail_on_recompile"):
        assert [tuple(call()[0].shape) for call in calls] == [(1, 4), (1, 8)]


@pytest.mark.parametrize("name", ["onnxruntime", "executorch", "torch"])
def test_binary_layers_are_products_of_floats(name, tmp_path):
    if not peers.available(name):
        pytest.skip(f"{name} is not installed: {peers.install_hint(name)}")
    torch.manual_seed(0)
    x, model = torch.randn(1, 3, 8, 8), Signs()
    graph = hwopt.import_model(model, x)
    assert difference(name, (graph, x.numpy(), model(x).detach().numpy()), tmp_path) == 0


def test_a_graph_that_a_peer_cannot_run_is_said_in_a_sentence(tmp_path):
    graph = hwopt.import_model(Bessel().eval(), torch.randn(1, 8))
    with pytest.raises(HwoptError, match="onnxruntime cannot run") as error:
        peers.make("onnxruntime", graph, (np.ones((1, 8), "float32"),), 1, tmp_path)
    assert "\n" not in str(error.value)


def test_an_unknown_peer_is_named_with_the_nearest(network, tmp_path):
    with pytest.raises(HwoptError, match="did you mean 'openvino'"):
        peers.make("openvin", network[0], (), 1, tmp_path)


def test_a_peer_that_is_not_installed_says_how_to_get_it(network, tmp_path, monkeypatch):
    monkeypatch.setitem(
        peers.registry.PEERS, "torch", peers.registry.Peer("torch_native", {}, ("no_such_package",))
    )
    assert not peers.available("torch")
    with pytest.raises(HwoptError, match=r"torch is not installed: pip install 'hwopt\[bench\]'"):
        peers.make("torch", network[0], (), 1, tmp_path)
