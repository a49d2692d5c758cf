import numpy as np
import pytest
import torch

import hwopt
from hwopt import models, peers
from hwopt.errors import HwoptError

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


@pytest.mark.parametrize("name", QUICK)
def test_float32_peers_agree_with_torch(name, network, tmp_path):
    if not peers.available(name):
        pytest.skip(f"{name} is not installed: {peers.install_hint(name)}")
    assert difference(name, network, tmp_path) < 1e-5


@pytest.mark.parametrize("name", ["onnxruntime-int8", "openvino-int8", "openvino-bf16"])
def test_other_precisions_differ_but_not_much(name, network, tmp_path):
    assert 0 < difference(name, network, tmp_path) < 0.1 * np.abs(network[2]).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch.compile", "torch.compile-max-autotune"])
def test_inductor_agrees_with_torch(name, network, tmp_path):
    assert difference(name, network, tmp_path) < 1e-5


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
