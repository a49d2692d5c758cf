"""The training loop."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from hwopt import tasks
from hwopt.data import DataSet
from hwopt.errors import HwoptError
from hwopt.optim.behaviour import behaviour
from hwopt.tasks import Task
from hwopt.train import augment as augmentations
from hwopt.train import optimizers, schedules
from hwopt.train.cpu import has_bfloat16, set_threads, weights_in
from hwopt.train.evaluation import evaluate
from hwopt.train.history import EpochStats, History
from hwopt.train.processes import ProcessGroup
from hwopt.train.progress import TrainingProgress
from hwopt.train.terms import Term
from hwopt.train.trainer import TrainingRun, figure


def fit(
    model: nn.Module,
    data: DataSet | Dataset[Any],
    task: Task | str = "classification",
    *,
    epochs: int = 7,
    batch_size: int = 128,
    learning_rate: float = 0.2,
    optimizer: str | optimizers.OptimizerFactory = "sgd",
    optimizer_options: Mapping[str, Any] | None = None,
    schedule: str | schedules.Schedule = "one-cycle",
    weight_decay: float = 5e-4,
    label_smoothing: float = 0.1,
    terms: Sequence[Term] = (),
    augment: str | augmentations.Augment | None = None,
    bfloat16: bool = False,
    freeze_batch_norm: bool = False,
    workers: int = 0,
    seed: int = 0,
    threads: int | None = None,
    validate: Dataset[Any] | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    on_epoch: Callable[[EpochStats], None] | None = None,
) -> History:
    """Train ``model`` in place, and leave it in evaluation mode.

    The same seed gives the same weights, bit for bit, on the same machine, torch and number of
    threads, also when the training was killed and resumed from its checkpoint.

    In a process of an initialised ``torch.distributed`` group the data is shared with the others:
    see :class:`hwopt.train.processes.ProcessGroup`.

    Args:
        model: maps the inputs of a batch to what the task takes, such as logits float32 (N,
            classes).
        data: of a :class:`hwopt.data.DataSet` the ``train`` split is used; for training on all
            samples before the final test, give ``data.train_full``.
        task: what is learned, or its name; see :mod:`hwopt.tasks`.
        epochs: passes over the data; incomplete batches at their end are left out.
        batch_size: samples a step.
        learning_rate: the highest one of the schedule.
        optimizer: "sgd", "adamw", "alig", "alig-plus", "borat", "vcsg", or a function from
            parameters and learning rate to any torch optimizer. The last four need no schedule:
            "constant". An epoch of "vcsg" is a snapshot and a pass over its samples in mini-batches
            of its own size.
        optimizer_options: more arguments of a named optimizer; see :mod:`hwopt.optim`.
        schedule: "one-cycle", "cosine", "linear", "constant", or a function from the progress
            (0 to 1) to a factor of the learning rate.
        weight_decay: of "sgd" and "adamw", which spare biases and batch norms, and of "alig-plus",
            which spares none; the others have none.
        label_smoothing: of the cross entropy of classes, other tasks have none; must be 0 with
            "alig" and "borat".
        terms: what acts on the training besides: penalties, distillation, constraints, a budget of
            latency, ...: all subclasses of :class:`Term`, or your own.
        augment: "flip", "shift", "shift-flip", None, ``package.module:callable``, or a function
            from a batch of images and a generator to images. Choose what leaves the label right.
        bfloat16: on a processor with instructions for it (AVX512-BF16, AMX), run the forward and
            backward pass under autocast; elsewhere it would be slower, and nothing changes.
            Weights stay float32.
        freeze_batch_norm: batch norms keep their statistics and normalise by them, as they do when
            the network answers: for data, or batches, that are too few to know statistics by.
        workers: processes that read samples ahead while the model trains, for data that are read
            one by one; 0 reads in this one. What a data set draws at random, if it does, depends on
            their number.
        seed: of shuffling, augmentation, and random layers such as dropout.
        threads: of torch, during the call; None leaves them as they are.
        validate: evaluated after every epoch.
        checkpoint: file to write after every epoch, and to resume from if it exists.
        progress: show a bar on a terminal, else a line an epoch, on the error stream.
        on_epoch: called after every epoch, when its checkpoint is written.

    Raises:
        HwoptError: if the loss is no longer finite, model and data are not of the task, an argument
            is unknown, or the checkpoint is damaged or of another training.

    >>> from hwopt import data, models
    >>> digits = data.load("digits")
    >>> model = models.create("resnet8", input_shape=digits.input_shape, width=4)
    >>> history = fit(model, digits, epochs=2, augment="shift", progress=False)
    >>> [stats.epoch for stats in history.epochs]
    [1, 2]
    """
    processes = ProcessGroup()
    task = (tasks.find(task) if isinstance(task, str) else task).smoothed(label_smoothing)
    settings: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "optimizer": _name(optimizer),
        "optimizer_options": dict(optimizer_options or {}),
        "schedule": _name(schedule),
        "weight_decay": weight_decay,
        "task": str(task),
        "terms": [str(term) for term in terms],
        "augment": _name(augment),
        "bfloat16": bfloat16 and has_bfloat16(),
        "freeze_batch_norm": freeze_batch_norm,
        "seed": seed,
        "processes": processes.count,
    }
    dataset = data.train if isinstance(data, DataSet) else data
    _check(settings, dataset, task, terms)
    settings["samples"] = len(dataset)  # type: ignore[arg-type]
    built = optimizers.build(
        optimizer,
        model,
        learning_rate,
        weight_decay,
        samples=settings["samples"],
        epochs=epochs,
        options=optimizer_options,
    )
    _check_optimizer(built, settings, task, terms)
    _check_processes(built, processes, batch_size, settings["samples"], terms)
    trainer = TrainingRun(
        model=model,
        dataset=dataset,
        optimizer=built,
        schedule=schedules.find(schedule),
        task=task,
        augment=augmentations.find(augment),
        settings=settings,
        steps=max(1, settings["samples"] // batch_size),
        terms=terms,
        workers=workers,
        processes=processes,
    )
    with set_threads(threads), weights_in(model, trainer.order), trainer:
        shows = progress and processes.rank == 0
        history = _epochs(trainer, checkpoint, validate, shows, on_epoch)
    model.eval()
    return history


def _epochs(
    trainer: TrainingRun,
    checkpoint: Path | None,
    validate: Dataset[Any] | None,
    shows: bool,
    on_epoch: Callable[[EpochStats], None] | None,
) -> History:
    """Train the epochs that a checkpoint has not; see :func:`fit`."""
    done = trainer.resume(checkpoint) if checkpoint and checkpoint.exists() else []
    resumed_from, epochs = len(done), trainer.settings["epochs"]
    with TrainingProgress(epochs, resumed_from, shows) as shown:
        for epoch in range(resumed_from + 1, epochs + 1):
            stats = trainer.epoch(epoch, shown)
            if validate is not None:
                found = evaluate(trainer.model, validate, trainer.task.smoothed(0.0))
                quality, shown_quality = figure(found.quality, trainer.task.metric)
                stats = dataclasses.replace(
                    stats,
                    validation_loss=found.loss,
                    validation_quality=quality,
                    validation_shown=shown_quality,
                )
            done.append(stats)
            if checkpoint:
                trainer.save(checkpoint, done)
            shown.epoch(stats)
            if on_epoch:
                on_epoch(stats)
    return History(tuple(done), resumed_from)


def _check(
    settings: dict[str, Any], dataset: Dataset[Any], task: Task, terms: Sequence[Term]
) -> None:
    """Refuse settings that make no training."""
    for key in ("epochs", "batch_size", "learning_rate"):
        if not settings[key] > 0:
            raise HwoptError(f"{key} must be positive, not {settings[key]}")
    for term in terms:
        if term.epochs not in (None, settings["epochs"]):
            raise HwoptError(
                f"the term {term} is for {term.epochs} epochs, not for {settings['epochs']}"
            )
        if term.needs_classes and not task.has_classes:
            raise HwoptError(f"the term {term} needs classes, which {task} has not: leave it out")
    if len(dataset) == 0:  # type: ignore[arg-type]
        raise HwoptError("the data set to train on is empty")


def _check_optimizer(
    optimizer: Optimizer, settings: dict[str, Any], task: Task, terms: Sequence[Term]
) -> None:
    """Refuse what an optimizer cannot do."""
    optimizers.check_use(
        optimizer,
        schedule=settings["schedule"],
        task=task,
        losses=[f"the term {term}" for term in terms if type(term).loss is not Term.loss],
        terms=[f"the term {term}" for term in terms],
    )
    fewest = behaviour(optimizer).steps_per_update
    if settings["samples"] // settings["batch_size"] < fewest and fewest > 1:
        raise HwoptError(
            f"{optimizer} takes {fewest} batches of {settings['batch_size']} for an update, more "
            f"than the {settings['samples']} samples have: choose smaller ones or fewer pieces"
        )


def _check_processes(
    optimizer: Optimizer,
    processes: ProcessGroup,
    batch_size: int,
    samples: int,
    terms: Sequence[Term],
) -> None:
    """Refuse what does not go with more than one process."""
    processes.check(batch_size, samples)
    alone = [str(term) for term in terms if term.alone]
    if behaviour(optimizer).in_one_process:
        alone.append(type(optimizer).__name__)
    if processes.count > 1 and alone:
        raise HwoptError(f"{alone[0]} trains in one process only, not in {processes.count}")


def _name(value: Any) -> str | None:
    """Return what stands for a choice in a checkpoint: its name."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, functools.partial):
        options = ", ".join(f"{key}={value.keywords[key]}" for key in sorted(value.keywords))
        return f"{_name(value.func)}({options})"
    return getattr(value, "__qualname__", type(value).__qualname__)
