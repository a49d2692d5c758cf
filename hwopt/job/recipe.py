"""What ``hwopt optimize`` is to do, and what it has in common with ``hwopt search``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from hwopt import passes, plugins
from hwopt.job.keys import (
    Align,
    Binary,
    Budget,
    Constraints,
    Distillation,
    Limits,
    Penalty,
    Routing,
    Share,
    Strict,
    TrainingKey,
    VariantKey,
    one_of,
)
from hwopt.train import augment, schedules

#: The name of one that is installed.
Optimizer = Annotated[str, one_of("optimizer", lambda: plugins.names(plugins.OPTIMIZERS))]
#: A name, or a function of the user's own.
Augmentation = Annotated[str, one_of("augmentation", lambda: augment.NAMES, or_reference=True)]


class Training(Strict):
    """Arguments of ``hwopt.train.fit``, see there, and terms of its objective."""

    epochs: PositiveInt = 7
    batch_size: PositiveInt = 128
    learning_rate: float = Field(default=0.2, gt=0)
    optimizer: Optimizer = "sgd"
    optimizer_options: dict[str, int | float] = Field(default_factory=dict)
    schedule: Annotated[str, one_of("schedule", lambda: schedules.NAMES)] = "one-cycle"
    weight_decay: float = Field(default=5e-4, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    augment: Augmentation | None = None
    bfloat16: bool = False
    freeze_batch_norm: bool = False
    workers: int = Field(default=0, ge=0)
    penalty: Penalty | None = None
    constraints: Constraints | None = None

    @property
    def keys(self) -> dict[str, TrainingKey]:
        """Those that are given of the keys that add terms to the objective."""
        return _given(self, TrainingKey)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``fit`` that are not terms of the objective."""
        return self.model_dump(exclude={"penalty", "constraints"})


class FineTuning(Training):
    """The same after passes, from the weights that are left: shorter and gentler."""

    epochs: PositiveInt = 5
    learning_rate: float = Field(default=0.1, gt=0)


class Variant(Strict):
    """One compiled model: the passes that make it, and how it is trained after them.

    Attributes:
        passes: text.
        fine_tune: train after passes that change the function.
        rounds: apply the passes bit by bit in so many rounds, with all of ``fine_tune`` after each.
        growth: how the ratios of the passes grow over the rounds; ``uniform`` by default.
        distill: learn from the network before the passes, too.
        align: stay near to its weights.
        binary: train the weights of binary layers to +1 and -1, and freeze them.
        budget: lose channels while training, until the measured latency is within a budget.
        route: ask an expert about what is hard.
    """

    passes: str = ""
    fine_tune: bool = True
    rounds: PositiveInt = 1
    growth: Literal["uniform", "geometric", "cubic"] | None = None
    distill: Distillation | None = None
    align: Align | None = None
    binary: Binary | None = None
    budget: Budget | None = None
    route: Routing | None = None

    @property
    def keys(self) -> dict[str, VariantKey]:
        """Those that are given of the keys that are more than a value, in the order of work."""
        return _given(self, VariantKey)

    @property
    def changes(self) -> bool:
        """Whether the network computes another function than before; training may be next."""
        parsed = passes.parse(self.passes)
        return bool(self.binary or self.budget) or any(not p.preserves_function for p in parsed)

    @property
    def of_training(self) -> list[str]:
        """Its keys that mean nothing without training."""
        keys = [name for name, key in self.keys.items() if key.is_of_training]
        return (["rounds"] if self.rounds > 1 else []) + keys


class Common(Strict):
    """What every recipe says.

    Attributes:
        model: zoo name, ``torchvision:NAME``, ``timm:NAME``, ``package.module:callable``,
            ``.pt2``, ``.onnx`` or a saved graph.
        model_options: keyword arguments, for those that are functions.
        weights: a file of weights (safetensors, or a state dict of torch) for a model that a
            function makes.
        input_shape: shape of one input without the batch; by default that of the data.
        data: a data set's name, a folder of images or ``package.module:callable``.
        task: what the model is for: a name of ``hwopt.tasks``, or ``package.module:Class``, with
            options in braces.
        no_worse: what is best must be no worse than the baseline by more than this, with 95 %:
            points of a share, else that share of the figure; None allows half a point, or half a
            per cent, of the figures as they are.
        data_fallback: use digits, and say so, if fashion-mnist cannot be had.
        train: how to train the model first; None takes its weights as they are.
        fine_tune: how to train a variant after passes that change the function; None does not.
        target: name of a target or path of its file.
        threads: threads of kernels, training and peers; None takes the target's.
        kernel_trials: most candidates measured for one kernel; None is the tuner's default.
        peers: what to measure beside the artefacts, in the same run.
        check_samples: test samples on which artefact and torch must agree.
        runs: measured calls of each artefact and peer.
        comparison_runs: measured calls of each network that passes and searches compare; None takes
            as many as that needs.
        seed: of weights, training and tuning.
    """

    model: str
    model_options: dict[str, int | float | str | bool] = Field(default_factory=dict)
    weights: str | None = None
    input_shape: tuple[PositiveInt, ...] | None = None
    data: str
    task: str = "classification"
    no_worse: Share | None = None
    data_fallback: bool = False
    train: Training | None = None
    fine_tune: FineTuning | None = FineTuning()
    target: str = "host"
    threads: PositiveInt | None = None
    kernel_trials: int | None = Field(default=None, ge=0)
    peers: tuple[str, ...] = ("onnxruntime",)
    check_samples: PositiveInt = 1000
    runs: PositiveInt = 500
    comparison_runs: PositiveInt | None = None
    seed: int = Field(default=0, ge=0, lt=2**31)


class Recipe(Common):
    """The main job.

    Attributes:
        variants: by name; the first is the one that ratios refer to.
        limits: what the best variant must not exceed.
    """

    limits: Limits = Limits()
    variants: dict[str, Variant] = Field(default={"dense": Variant()}, min_length=1)

    @property
    def baseline(self) -> str:
        """The variant that ratios refer to."""
        return next(iter(self.variants))


def _given(part: Strict, kind: type[Any]) -> dict[str, Any]:
    values = {name: getattr(part, name) for name in type(part).model_fields}
    return {name: value for name, value in values.items() if isinstance(value, kind)}
