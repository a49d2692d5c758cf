"""Models as C99: built by compilers of C, run here and by emulators, equal to torch."""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import hwopt
from hwopt import models, targets
from hwopt.compiler.export_c import BUNDLE_FILE, export_c
from hwopt.errors import HwoptError
from hwopt.passes import Context
from hwopt.passes.route import Route
from tests.devices import needs

EXAMPLE = Path(__file__).parents[2] / "examples" / "cortex-m"
CORTEX_M4 = "-fno-strict-aliasing -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16"


def built(folder):
    """Compile a bundle for this machine, without a warning, and return its library."""
    command = "gcc -std=c99 -Wall -Wextra -Werror -O2 -fno-strict-aliasing -shared -fPIC "
    command += "model.c model_weights.c -lm -o m.so"
    subprocess.run(command.split(), cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "m.so"))


def run(library, x, outputs):
    """Return what a bundle computes of an input."""
    x, y = np.ascontiguousarray(x.numpy()), np.empty(outputs, np.float32)
    assert library.model_run(*(ctypes.c_void_p(array.ctypes.data) for array in (x, y))) == 0
    return torch.from_numpy(y)


def sizes(file, folder):
    """Return the bytes of text, of data and of zeros of a file for a Cortex-M."""
    command = ["arm-none-eabi-size", file]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return [int(word) for word in ran.stdout.splitlines()[1].split()[:3]]


def expected(model, x):
    with torch.no_grad():
        return model(x)


class Words(nn.Module):
    """Exponentials, roots, windows of a maximum, a mean: what C's mathematics is for."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.sigmoid(self.conv(x)), 2)
        x = self.norm(x.mean((2, 3)))
        return torch.softmax(self.head(nn.functional.gelu(x)), 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: models.create("resnet8", num_classes=10, input_shape=(1, 28, 28)), (1, 1, 28, 28)),
        (lambda: models.create("ds_cnn", num_classes=12, input_shape=(1, 49, 10)), (1, 1, 49, 10)),
        (Words, (2, 3, 17, 15)),
    ],
)
def test_bundles_are_equal_to_torch(tmp_path, make, shape):
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(shape)
    facts = export_c(model, x, output=tmp_path / "c")
    assert json.loads((tmp_path / "c" / BUNDLE_FILE).read_text()) == facts
    wanted = expected(model, x)
    library = built(tmp_path / "c")
    for _ in range(2):  # nothing is left of the first time
        assert torch.allclose(run(library, x, wanted.shape), wanted, atol=1e-5)


def test_binary_layers_are_c_too(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.Conv2d(32, 16, 3)).eval()
    x = torch.randn(1, 3, 9, 9)
    graph = hwopt.apply(hwopt.import_model(model, x), "binarize{keep_last=false},freeze-binary")
    export_c(graph, output=tmp_path / "c")
    wanted = expected(graph.to_torch().eval(), x)
    assert torch.allclose(run(built(tmp_path / "c"), x, wanted.shape), wanted, atol=1e-4)


def test_a_routed_model_runs_the_expert_where_it_is_asked(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(1, 1, 8, 8)

    def net(width):
        layers = [nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 4)]
        return hwopt.import_model(nn.Sequential(*layers).eval(), x)

    for threshold in (-100.0, 100.0):
        route = Route(router="entropy", threshold=threshold)
        graph = route.joined(net(2), net(8), Context()).graph
        folder = tmp_path / f"{threshold}"
        export_c(graph, output=folder)
        _, calls = (folder / "model.c").read_text().split("int model_run")
        assert calls.count("if (") == 1
        wanted = expected(graph.to_torch().eval(), x)
        assert torch.allclose(run(built(folder), x, wanted.shape), wanted, atol=1e-5)


class Several(nn.Module):
    """Inputs and outputs of several kinds, one of them constant, one an input, one twice."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.register_buffer("anchors", torch.arange(3.0))

    def forward(self, x, indices):
        y = torch.erf(self.linear(x))
        return y, y > 0, indices + 1, self.anchors + 1, x, y


def test_outputs_of_every_kind(tmp_path):
    torch.manual_seed(0)
    model, inputs = Several().eval(), (torch.randn(3, 6), torch.arange(5))
    export_c(model, inputs, output=tmp_path / "c")
    wanted = expected(lambda both: model(*both), inputs)
    found = [np.zeros(one.shape, one.numpy().dtype) for one in wanted]
    arrays = [one.numpy() for one in inputs] + found
    library = built(tmp_path / "c")
    assert library.model_run(*(ctypes.c_void_p(array.ctypes.data) for array in arrays)) == 0
    for one, array in zip(wanted, found, strict=True):
        assert np.allclose(array, one.numpy(), atol=1e-6)


@pytest.mark.slow
@needs("an emulated Cortex-M")
@pytest.mark.parametrize(
    ("name", "shape", "classes"), [("ds_cnn", (1, 49, 10), 12), ("resnet8", (1, 28, 28), 10)]
)
def test_a_cortex_m4_computes_the_same_in_little_memory(tmp_path, name, shape, classes):
    torch.manual_seed(0)
    model = models.create(name, num_classes=classes, input_shape=shape).eval()
    x = torch.randn(1, *shape)
    folder = tmp_path / "c"
    facts = export_c(model, x, output=folder)
    values = ", ".join(float(value).hex() for value in x.flatten())
    text = f"#define OUTPUTS {classes}\nstatic const float input[] = {{{values}}};\n"
    (folder / "input.h").write_text(text)
    command = f"arm-none-eabi-gcc -std=gnu99 -Wall -Wextra -Werror -O2 {CORTEX_M4} -nostartfiles "
    command += (
        f"--specs=nosys.specs -T {EXAMPLE}/board.ld -I. {EXAMPLE}/startup.c {EXAMPLE}/main.c "
    )
    command += "model.c model_weights.c -lm -o model.elf"
    subprocess.run(command.split(), cwd=folder, check=True)
    machine = "qemu-system-arm -M mps2-an386 -display none -serial stdio -monitor none "
    machine += "-semihosting-config enable=on,target=native -kernel model.elf"
    ran = subprocess.run(
        machine.split(), cwd=folder, capture_output=True, text=True, timeout=120, check=True
    )
    bits = np.array([int(line, 16) for line in ran.stdout.split()], np.uint32)
    assert np.abs(bits.view(np.float32) - expected(model, x)[0].numpy()).max() <= 1e-4
    assert facts["ram_bytes"] <= 1.3 * facts["activation_bytes"]
    text_bytes, _, memory_bytes = sizes("model.elf", folder)
    # What is stated is what is there: one array for values; code and weights in flash.
    assert facts["ram_bytes"] <= memory_bytes <= facts["ram_bytes"] + 1000
    assert text_bytes <= facts["weight_bytes"] + 20_000
    command = f"arm-none-eabi-gcc -std=c99 -O2 {CORTEX_M4} -c model.c"
    subprocess.run(command.split(), cwd=folder, check=True)
    code_bytes, _, _ = sizes("model.o", folder)
    assert code_bytes / 2 <= facts["code_bytes"] <= 2 * code_bytes
    asked = subprocess.run(
        ["arm-none-eabi-nm", "-u", "model.o"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {*asked.stdout.split()} <= {"U", "memcpy", "memset", "model_weights"}


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(HwoptError, match=r"does not fit on cortex-m4: .* KB of flash needed, "):
        export_c(nn.Linear(1000, 600), torch.zeros(1, 1000), output=tmp_path / "c")
    wide = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 1, 3))
    with pytest.raises(HwoptError, match=r"KB of memory needed.*float32 \[1, 64, 64, 64\] of "):
        export_c(wide, torch.zeros(1, 1, 64, 64), output=tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a-b"}, "'a-b' is no name for a function of C"),
    ],
)
def test_bad_requests_are_one_sentence(tmp_path, changes, message):
    with pytest.raises(HwoptError, match=message):
        export_c(nn.Linear(2, 2), torch.zeros(1, 2), output=tmp_path / "c", **changes)


def test_a_folder_with_something_else_is_kept(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(HwoptError, match="is not replaced"):
        export_c(nn.Linear(2, 2), torch.zeros(1, 2), output=tmp_path)


def test_the_header_says_what_goes_in_and_comes_out(tmp_path):
    export_c(nn.Linear(8, 4), torch.zeros(1, 8), output=tmp_path / "c", name="net")
    header = (tmp_path / "c" / "net.h").read_text()
    assert "int net_run(const float *input, float *output);" in header
    assert "float [1, 8]" in header and "float [1, 4]" in header
    assert "net_weights" in (tmp_path / "c" / "net_weights.c").read_text()
    assert targets.get("cortex-m4").tvm == {"kind": "c"}
