"""What trains a model: one epoch at a time, with everything that a checkpoint must hold."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from hwopt.data import Batch
from hwopt.data.ahead import read_ahead
from hwopt.errors import HwoptError
from hwopt.graph.module import Operation
from hwopt.optim.behaviour import behaviour
from hwopt.tasks import Metric, Task
from hwopt.train import augment as augmentations
from hwopt.train import checkpoint as checkpoints
from hwopt.train import schedules
from hwopt.train.cpu import memory_format
from hwopt.train.evaluation import outputs_of
from hwopt.train.history import EpochStats
from hwopt.train.processes import ProcessGroup
from hwopt.train.progress import TrainingProgress
from hwopt.train.terms import Term


@dataclasses.dataclass
class TrainingRun:
    """A model, what trains it, and how to save and resume the two."""

    model: nn.Module
    dataset: Dataset[Any]
    optimizer: Optimizer
    schedule: schedules.Schedule
    task: Task
    augment: augmentations.Augment | None
    settings: dict[str, Any]
    steps: int
    terms: Sequence[Term] = ()
    workers: int = 0
    processes: ProcessGroup = dataclasses.field(default_factory=ProcessGroup)

    def __post_init__(self) -> None:
        self.behaviour = behaviour(self.optimizer)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.order = memory_format(self.model)

    def __enter__(self) -> TrainingRun:
        """Start the terms of the objective; if one cannot start, the others are finished."""
        self.processes.begin_alike(self.model)
        with contextlib.ExitStack() as started:
            for term in self.terms:
                term.task = self.task
                term.start(self.model, self.settings["samples"])
                started.callback(term.finish)
            self._started = started.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """Let them undo what they did to the model."""
        self._started.close()

    def epoch(self, epoch: int, shown: TrainingProgress) -> EpochStats:
        """Train one epoch, counted from 1."""
        # All randomness starts anew from the seed and the epoch: nothing of it needs saving.
        seed = self.settings["seed"] * 1_000_003 + epoch
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.settings["samples"], generator=generator)
        size, steps = self.behaviour.batches(self.settings["batch_size"], self.steps)
        updates = self.behaviour.steps_per_update
        batches = [self.processes.share(indices) for indices in order.split(size)[:steps]]
        if self.processes.rank:
            generator = self.processes.generator(seed)
        total_loss, samples, evidence = 0.0, 0, []
        # What compares each sample with all others would take longer than the training.
        shows_quality = type(self.task).scores is Task.scores
        start = time.perf_counter()
        self.model.train()
        if self.settings["freeze_batch_norm"]:
            _keep_statistics(self.model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            drawn = (self._prepared(one, generator) for one in self._read(batches, seed))
            self.behaviour.start_epoch(self._closure(one, epoch, 0, []) for one in drawn)
            for step, (indices, one) in enumerate(
                zip(batches, self._read(batches, seed), strict=True)
            ):
                given = self._prepared(one, generator)
                rate = self._set_learning_rate(epoch, step)
                if step == 0:
                    for term in self.terms:
                        term.start_epoch(rate)
                value, seen = self._step(given, indices, epoch, step)
                if (step + 1) % updates == 0:
                    for term in self.terms:
                        term.after_step(rate)
                total_loss += value * len(indices)
                samples += len(indices)
                if shows_quality:
                    evidence.append(self.task.evidence(seen, given))
                figures = functools.partial(self._figures, total_loss, samples, evidence, start)
                shown.step(epoch, (step + 1) / len(batches), figures)
        self.behaviour.end_epoch()
        self.processes.end_alike(self.model)
        quality = self.task.quality(np.concatenate(evidence)) if shows_quality else math.nan
        # Of several processes the mean: of metrics that are no means it is near to that of all.
        total_loss, total_quality, seen_by_all = self.processes.totals(
            total_loss, quality * samples, samples
        )
        known, shown_quality = figure(total_quality / seen_by_all, self.task.metric)
        seconds = time.perf_counter() - start
        return EpochStats(
            epoch,
            total_loss / seen_by_all,
            known,
            seconds,
            seen_by_all / seconds,
            shown_quality,
            notes=", ".join(filter(None, (term.note() for term in self.terms))),
        )

    def _read(self, batches: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        seeds = torch.Generator().manual_seed(seed)
        return read_ahead(self.dataset, batches, self.workers, seeds)

    def _prepared(self, given: Batch, generator: torch.Generator) -> Batch:
        inputs, targets = given
        if self.augment:
            if not isinstance(inputs, Tensor):
                raise HwoptError(
                    "augmentations change one tensor, but samples have several: leave them out"
                )
            inputs = self.augment(inputs, generator)
        if isinstance(inputs, Tensor) and inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=self.order)
        return self.task.complete(Batch(inputs, targets))

    def _step(self, given: Batch, indices: Tensor, epoch: int, step: int) -> tuple[float, Any]:
        """Take one optimizer step; return the loss and the outputs."""
        seen: list[Any] = []
        closure = self._closure(given, epoch, step, seen)
        optimizer: Any = self.optimizer  # its type has closures return numbers
        more = (indices,) if self.behaviour.per_sample_loss else ()
        loss = optimizer.step(closure, *more)
        return loss.mean().item(), seen[0]

    def _closure(
        self, given: Batch, epoch: int, step: int, seen: list[Any]
    ) -> Callable[[], Tensor]:
        """Return what computes the gradients and returns the loss; ``seen`` gets the outputs."""

        def closure() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.settings["bfloat16"]):
                outputs = outputs_of(self.model, given, self.task, is_first=step == 0)
            outputs = _each(lambda one: one.float() if one.is_floating_point() else one, outputs)
            seen.append(_each(Tensor.detach, outputs))
            loss = self.task.loss(outputs, given)
            mean = loss.mean()
            for term in self.terms:
                mean = term.loss(mean, given.inputs, outputs, given.targets)
            self.optimizer.zero_grad()
            mean.backward()
            result = loss.detach() if self.behaviour.per_sample_loss else mean.detach()
            self.processes.average([result, *(p.grad for p in self.model.parameters())])
            # After the average: all processes stop, or none does.
            value = result.mean().item()
            if not math.isfinite(value):
                raise HwoptError(
                    f"the loss became {value} in epoch {epoch} at step {step + 1}: "
                    f"lower the learning rate (its highest is {self.settings['learning_rate']})"
                )
            return result

        return closure

    def _figures(
        self, total_loss: float, samples: int, evidence: list[np.ndarray], start: float
    ) -> str:
        """Return the text beside the bar."""
        rate = samples / (time.perf_counter() - start)
        so_far = ""
        if self.task.is_mean:
            _, so_far = figure(self.task.quality(np.concatenate(evidence)), self.task.metric)
        return f"loss {total_loss / samples:.4f}  {so_far}  {rate:.0f} samples/s"

    def _set_learning_rate(self, epoch: int, step: int) -> float:
        """Follow the schedule; return the rate of the first group of parameters."""
        progress = ((epoch - 1) * self.steps + step) / (self.settings["epochs"] * self.steps)
        factor = self.schedule(progress)
        if self.behaviour.chooses_rate:
            return float(self.optimizer.param_groups[0]["lr"])  # it chooses itself
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        return float(self.rates[0] * factor)

    def save(self, path: Path, done: list[EpochStats]) -> None:
        """Write the checkpoint after the epochs ``done``, in the first process."""
        if self.processes.rank:
            return
        content = {
            "settings": self.settings,
            "epochs": [dataclasses.asdict(stats) for stats in done],
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "terms": [term.state() for term in self.terms],
        }
        checkpoints.save(path, content)

    def resume(self, path: Path) -> list[EpochStats]:
        """Read the checkpoint and return the epochs that were done."""
        content = checkpoints.load(path)
        for key, value in self.settings.items():
            saved = content["settings"].get(key)
            if saved != value:
                raise HwoptError(
                    f"checkpoint {path} is of a training with {key}={saved!r}, not {value!r}: "
                    "delete it or choose another file"
                )
        try:
            self.model.load_state_dict(content["model"])
            self.optimizer.load_state_dict(content["optimizer"])
            for term, state in zip(self.terms, content.get("terms", ()), strict=True):
                term.restore(state)
        except (RuntimeError, ValueError) as error:
            raise HwoptError(f"checkpoint {path} is of another model: {error}") from None
        for parameter, state in self.optimizer.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    # As they were: strides like those of the weights.
                    state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        return [EpochStats(**stats) for stats in content["epochs"]]


def figure(quality: float, metric: Metric) -> tuple[float | None, str]:
    """Return a quality, None where it is none, and as text."""
    known = quality if math.isfinite(quality) else None
    return known, "" if known is None else f"{metric.name} {metric.show(known)}"


def _each(change: Callable[[Tensor], Tensor], outputs: Any) -> Any:
    """Return outputs with every tensor changed."""
    if isinstance(outputs, Tensor):
        return change(outputs)
    return tuple(_each(change, one) for one in outputs)


def _keep_statistics(model: nn.Module) -> None:
    """Let batch norms of a model in training normalise by their running statistics."""
    for module in model.modules():
        is_ours = isinstance(module, Operation) and module.op == "batch_norm"
        if is_ours or isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
