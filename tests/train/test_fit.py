"""The training loop: learning, seeds, resume after a kill, errors."""

import io
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

import hwopt
from hwopt import data, models, tasks, train
from hwopt.errors import HwoptError
from hwopt.train import Constrained, loop, progress
from hwopt.train import checkpoint as checkpoints
from hwopt.train.constraints import EntropyFloor
from tests.train.small_trainings import blobs, equal, quiet_fit, small_model


@pytest.mark.slow
def test_learns_digits() -> None:
    digits = data.load("digits")
    torch.manual_seed(0)
    model = models.create("resnet8", input_shape=(1, 28, 28), width=8)
    seen = []
    history = quiet_fit(
        model, digits, epochs=4, batch_size=32, augment="shift",
        validate=digits.validation, on_epoch=seen.append,
    )  # fmt: skip
    result = train.evaluate(model, digits.test)
    assert result.quality > 0.93
    assert seen == list(history.epochs) and len(seen) == 4
    assert history.epochs[-1].validation_quality == train.evaluate(model, digits.validation).quality
    assert not model.training
    assert all(p.is_contiguous() for p in model.parameters())


def test_same_seed_same_weights_and_untouched_random_state() -> None:
    results = []
    for seed in (1, 1, 2):
        model = small_model()
        state = torch.get_rng_state()
        quiet_fit(model, blobs(), epochs=2, batch_size=32, seed=seed)
        assert torch.equal(state, torch.get_rng_state())
        results.append(model)
    assert equal(results[0], results[1])
    assert not equal(results[0], results[2])


OPTIMIZERS: dict[str, Callable] = {
    "adam": lambda p, lr: torch.optim.Adam(p, lr, amsgrad=True),
    "nadam": lambda p, lr: torch.optim.NAdam(p, lr),
    "radam": lambda p, lr: torch.optim.RAdam(p, lr),
    "rmsprop": lambda p, lr: torch.optim.RMSprop(p, lr, momentum=0.9),
    "adagrad": lambda p, lr: torch.optim.Adagrad(p, lr),
    "adafactor": lambda p, lr: torch.optim.Adafactor(p, lr),
    "rprop": lambda p, lr: torch.optim.Rprop(p, lr),
}


class Stop(Exception):
    """Ends a training from outside."""


def stop_after(epoch: int) -> Callable[[train.EpochStats], None]:
    """Return a callback that interrupts the training after an epoch."""

    def callback(stats: train.EpochStats) -> None:
        if stats.epoch == epoch:
            raise Stop

    return callback


FROM_THE_LOSS = ("alig", "alig-plus", "borat", "vcsg")


@pytest.mark.parametrize("name", ["sgd", "adamw", *FROM_THE_LOSS, *OPTIMIZERS])
def test_resumes_bit_identical_with_any_optimizer(name: str, tmp_path: Path) -> None:
    arguments = {"epochs": 4, "batch_size": 32, "learning_rate": 0.01}
    arguments["optimizer"] = OPTIMIZERS.get(name, name)
    if name in FROM_THE_LOSS:
        arguments |= {"schedule": "constant", "label_smoothing": 0.0}
    if name == "alig-plus":
        arguments["optimizer_options"] = {"updates": 2}
    whole, resumed = small_model(), small_model()
    quiet_fit(whole, blobs(), **arguments)
    path = tmp_path / "c.safetensors"
    with pytest.raises(Stop):
        quiet_fit(resumed, blobs(), checkpoint=path, on_epoch=stop_after(2), **arguments)
    resumed = small_model(seed=9)
    history = quiet_fit(resumed, blobs(), checkpoint=path, **arguments)
    assert history.resumed_from == 2 and [s.epoch for s in history.epochs] == [1, 2, 3, 4]
    assert equal(whole, resumed)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    first, second = small_model(), small_model(seed=5)
    quiet_fit(first, blobs(), epochs=2, batch_size=32, checkpoint=path)
    before = path.stat().st_mtime_ns
    assert quiet_fit(second, blobs(), epochs=2, batch_size=32, checkpoint=path).resumed_from == 2
    assert equal(first, second) and path.stat().st_mtime_ns == before


KILLED = """
import sys
import torch
from pathlib import Path
from safetensors.torch import save_file
from hwopt import data, models, tasks, train
torch.manual_seed(0)
digits = data.load("digits")
model = models.create("resnet8", input_shape=(1, 28, 28), width=4)
checkpoint = Path(sys.argv[1]) if sys.argv[1] != "none" else None
train.fit(
    model, digits.train, epochs=6, batch_size=64, checkpoint=checkpoint, progress=False, threads=1
)
save_file(model.state_dict(), sys.argv[2])
"""


@pytest.mark.slow
def test_killed_processes_end_with_the_same_weights(tmp_path: Path) -> None:
    def start(checkpoint: str, result: str) -> subprocess.Popen:
        paths = [checkpoint, str(tmp_path / result)]
        return subprocess.Popen([sys.executable, "-c", KILLED, *paths])

    assert start("none", "whole").wait() == 0
    path = tmp_path / "c.safetensors"
    for epochs in (1, 3):
        process = start(str(path), "killed")
        while not path.exists() or len(checkpoints.load(path)["epochs"]) < epochs:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.03 * epochs)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert len(checkpoints.load(path)["epochs"]) < 6
    assert start(str(path), "resumed").wait() == 0
    whole, resumed = load_file(tmp_path / "whole"), load_file(tmp_path / "resumed")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert not (tmp_path / "killed").exists()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    images, labels = blobs().tensors
    with pytest.raises(HwoptError, match=r"in epoch 1 at step \d+: lower the learning rate"):
        quiet_fit(small_model(), TensorDataset(images, labels), batch_size=32, learning_rate=1e30)
    losses = iter([1.0] * 6 + [float("nan")])  # of each step for the loss, and for what is shown

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(outputs, targets, reduction="none") * next(losses)

    with pytest.raises(HwoptError, match="the loss became nan in epoch 2 at step 1:"):
        quiet_fit(small_model(), blobs(), tasks.LossOnly(loss), batch_size=32, checkpoint=path)
    assert len(checkpoints.load(path)["epochs"]) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_checkpoint_of_another_training(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    quiet_fit(small_model(), blobs(), epochs=1, batch_size=32, checkpoint=path)
    with pytest.raises(HwoptError, match="a training with epochs=1, not 2"):
        quiet_fit(small_model(), blobs(), epochs=2, batch_size=32, checkpoint=path)
    other = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    with pytest.raises(HwoptError, match="is of another model"):
        quiet_fit(other, blobs(), epochs=1, batch_size=32, checkpoint=path)


def test_trains_an_autoencoder() -> None:
    inputs = torch.randn(256, 20)
    model = models.create("autoencoder", input_shape=(20,), width=16)
    history = quiet_fit(
        model, TensorDataset(inputs), "reconstruction", epochs=5, batch_size=32, optimizer="adamw",
        learning_rate=0.01, augment=None,
    )  # fmt: skip
    assert history.epochs[0].quality == pytest.approx(history.epochs[0].loss)
    assert history.epochs[-1].loss < history.epochs[0].loss


def test_a_batch_size_above_the_samples_trains_on_all() -> None:
    history = quiet_fit(small_model(), blobs(30), epochs=1, batch_size=128)
    assert history.epochs[0].quality is not None


def test_threads_are_restored_also_after_an_error() -> None:
    before = torch.get_num_threads()
    model = small_model()
    model.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    seen: list[int] = []
    quiet_fit(model, blobs(), epochs=1, batch_size=32)
    assert seen[0] == 1 and torch.get_num_threads() == before
    with pytest.raises(HwoptError):
        quiet_fit(model, blobs(), batch_size=32, learning_rate=1e30)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("capable", [True, False])
def test_bfloat16_where_the_processor_has_it(
    capable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "has_bfloat16", lambda: capable)
    exact, model = small_model(), small_model()
    quiet_fit(exact, blobs(), epochs=3, batch_size=32)
    history = quiet_fit(model, blobs(), epochs=3, batch_size=32, bfloat16=True)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert equal(exact, model) is not capable


class OneByOne(torch.utils.data.Dataset):
    """The blobs without a fast way to many of them."""

    def __len__(self) -> int:
        return 96

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return blobs()[index]


def test_workers_read_the_same_samples_ahead() -> None:
    models = [small_model(), small_model()]
    for workers, model in enumerate(models):
        quiet_fit(model, OneByOne(), epochs=2, batch_size=32, workers=2 * workers)
    assert equal(*models)


class Broken(OneByOne):
    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if index == 40:
            raise HwoptError("pets/40.png cannot be read as an image")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_read_is_one_sentence(workers: int) -> None:
    with pytest.raises(HwoptError) as caught:
        quiet_fit(small_model(), Broken(), epochs=1, batch_size=32, workers=workers)
    assert str(caught.value) == "pets/40.png cannot be read as an image"


def brighter(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return images + torch.rand(len(images), 1, 1, 1, generator=generator)


def test_an_augmentation_of_the_users_own() -> None:
    by_name, given = small_model(), small_model()
    quiet_fit(by_name, blobs(), epochs=1, batch_size=32, augment=f"{__name__}:brighter")
    quiet_fit(given, blobs(), epochs=1, batch_size=32, augment=brighter)
    assert equal(by_name, given)
    with pytest.raises(HwoptError, match="has no callable 'darker'"):
        quiet_fit(given, blobs(), epochs=1, batch_size=32, augment=f"{__name__}:darker")


@pytest.mark.parametrize("is_graph", [True, False])
def test_frozen_batch_norms_keep_their_statistics(is_graph: bool) -> None:
    model = small_model()
    module = hwopt.import_model(model, torch.zeros(1, 1, 6, 6)).to_torch() if is_graph else model
    for frozen in (True, False):
        before = {name: one.clone() for name, one in module.state_dict().items()}
        quiet_fit(module, blobs(), epochs=1, batch_size=32, freeze_batch_norm=frozen)
        same = {name: torch.equal(one, before[name]) for name, one in module.state_dict().items()}
        assert same["1.running_mean"] is same["1.running_var"] is frozen
        assert not same["1.weight"] and not same["0.weight"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs must be positive, not 0"),
        ({"batch_size": -1}, "batch_size must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"schedule": "one-cyle"}, "did you mean 'one-cycle'"),
        (
            {"terms": [Constrained([EntropyFloor(0.1)], epochs=9)]},
            "the term constrained .* is for 9 epochs, not for 7",
        ),
        ({"augment": "shift-flop"}, "did you mean 'shift-flip'"),
    ],
)
def test_wrong_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(HwoptError, match=message):
        quiet_fit(small_model(), blobs(), **arguments)


def test_wrong_models_and_data() -> None:
    with pytest.raises(HwoptError, match=r"does not take inputs of shape \(32, 1, 6, 6\)"):
        quiet_fit(nn.Linear(2, 2), blobs(), batch_size=32)
    with pytest.raises(HwoptError, match="only 2 outputs"):
        quiet_fit(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), blobs(), batch_size=32)
    with pytest.raises(HwoptError, match="empty"):
        quiet_fit(small_model(), blobs(0))


def test_a_line_an_epoch_without_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    train.fit(small_model(), blobs(), epochs=2, batch_size=32)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == "" and len(lines) == 2
    assert lines[1].startswith("epoch 2/2: loss ") and "samples/s" in lines[1]


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    terminal = partial(Console, file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(progress, "Console", lambda stderr, highlight: terminal())
    train.fit(small_model(), blobs(), epochs=2, batch_size=32)
    shown = screen.getvalue()
    assert "epoch 2/2" in shown and "━" in shown and "accuracy" in shown and "samples/s" in shown
