"""Loss and quality of a model on a data set."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from hwopt import tasks
from hwopt.data import Batch, batches, leaves, run_model
from hwopt.errors import HwoptError
from hwopt.tasks import Task
from hwopt.tasks.task import are_numbers


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How a model does on a data set.

    Attributes:
        task: that it was asked for.
        loss: the mean over the samples.
        quality: by the metric of the task; NaN where the samples say nothing, or an output is NaN.
        scores: what each sample adds to it, (samples, ...).
    """

    task: Task
    loss: float
    quality: float
    scores: np.ndarray = dataclasses.field(repr=False)

    @property
    def samples(self) -> int:
        """How many there were."""
        return len(self.scores)

    def interval(self) -> tuple[float, float]:
        """Return between what the quality is with 95 %; see :func:`hwopt.tasks.interval`."""
        return tasks.interval(self.task.quality, self.scores)

    def worse_by(self, beside: Evaluation) -> float:
        """Return how much worse this is than another model on the same samples, with 95 %.

        See :func:`hwopt.tasks.worse_by`; negative where it is surely better.
        """
        metric = self.task.metric
        return tasks.worse_by(
            lambda one, other: -metric.gain(one, beside=other),
            self.task.quality,
            self.scores,
            beside.scores,
        )


def evaluate(
    model: nn.Module,
    dataset: Dataset[Any],
    task: Task | str = "classification",
    batch_size: int = 500,
) -> Evaluation:
    """Evaluate ``model`` in evaluation mode; its own mode is restored afterwards.

    Args:
        model: maps the inputs of a batch to what the task takes, such as logits (N, classes).
        dataset: a map-style torch data set; see :func:`hwopt.data.as_batch` for its items.
        task: or its name; see :mod:`hwopt.tasks`.
        batch_size: samples a forward pass.

    Raises:
        HwoptError: if the data set is empty, or model and data are not of the task.

    >>> from hwopt import data, models
    >>> digits = data.load("digits")
    >>> result = evaluate(models.create("resnet8", input_shape=(1, 28, 28)), digits.test)
    >>> result.samples
    360
    """
    task = tasks.find(task) if isinstance(task, str) else task
    was_training = model.training
    model.eval()
    loss, samples, evidence, known = 0.0, 0, [], True
    try:
        with torch.no_grad():
            for batch in map(task.complete, batches(dataset, batch_size)):
                outputs = outputs_of(model, batch, task, is_first=not samples)
                losses = task.loss(outputs, batch)
                loss += float(losses.mean()) * len(losses)
                samples += len(losses)
                evidence.append(task.evidence(outputs, batch))
                known = known and are_numbers(outputs)
    finally:
        model.train(was_training)
    if not samples:
        raise HwoptError("the data set to evaluate on is empty")
    scores = task.scores(np.concatenate(evidence))
    quality = task.quality(scores) if known else math.nan
    return Evaluation(task, loss / samples, quality, scores)


def outputs_of(model: nn.Module, batch: Batch, task: Task, is_first: bool) -> Any:
    """Return what a model gives for a batch; of the first one, say what does not fit.

    Raises:
        HwoptError: if the model does not take the inputs, or is none of the task.
    """
    inputs = task.feed(batch.inputs)
    if not is_first:
        return run_model(model, inputs)
    try:
        outputs = run_model(model, inputs)
    except (RuntimeError, ValueError, TypeError) as error:
        raise HwoptError(f"the model does not take inputs of {_shapes(inputs)}: {error}") from error
    task.check(outputs, batch)
    return outputs


def _shapes(inputs: Any) -> str:
    return f"shape {', '.join(str(tuple(one.shape)) for one in leaves(inputs))}"
