"""What ``hwopt optimize`` is to do."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from hwopt import passes


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Penalty(_Strict):
    """Arguments of ``hwopt.train.L1Penalty``; ``channels`` penalises channels, not weights."""

    strength: float = Field(ge=0)
    form: Literal["cumulative", "proximal"] = "cumulative"
    grows: Literal["step", "epoch"] = "step"
    channels: bool = False


class Constraints(_Strict):
    """What ``hwopt.train.Constrained`` keeps to: levels of those that are given."""

    entropy_floor: float | None = Field(default=None, ge=0)
    class_marginal: float | None = Field(default=None, ge=0)
    hard_examples: float | None = Field(default=None, ge=0)
    input_gradient: float | None = Field(default=None, ge=0)
    sharpness: float | None = Field(default=None, ge=0)
    strength: float = Field(default=1.0, gt=0)


class Distillation(_Strict):
    """Arguments of ``hwopt.train.SelfDistillation``; the teacher is the network before passes.

    With the form ``blocks`` they are those of ``hwopt.train.BlockDistillation``.
    """

    form: Literal["cross-correlation", "cosine", "kl", "mse", "blocks"] = "cross-correlation"
    share: float = Field(default=0.5, ge=0, le=1)
    layer: str | None = None


class Alignment(_Strict):
    """Arguments of ``hwopt.train.Alignment``; the reference is the network before passes."""

    form: Literal["cosine", "frobenius"] = "cosine"
    strength: float = Field(default=1.0, ge=0)
    surviving: bool = False


class Binary(_Strict):
    """How the weights of binary layers become +1 and -1; ``binarize`` must make the layers.

    ``bnew`` is ``hwopt.train.BinaryPull``, which takes ``growth`` and ``frozen``; the others are
    its baselines. Before it come ``first_epochs`` with binary activations and real weights. The
    paper's growth is 35, in 352,000 steps; the default is meant for a hundredth of them.
    """

    method: Literal["bnew", "straight-through", "tanh-annealing", "bop"] = "bnew"
    first_epochs: PositiveInt = 5
    growth: float = Field(default=4.0, gt=0)
    frozen: PositiveInt = 1


class Budget(_Strict):
    """Arguments of ``hwopt.allocation.latency_budget.LatencyBudget``.

    Either ``ms`` or a ``share`` of the latency of the network after ``passes``.
    """

    ms: float | None = Field(default=None, gt=0)
    share: float | None = Field(default=None, gt=0)
    every: PositiveInt = 1
    settled: float = Field(default=0.4, gt=0, lt=1)
    widths: int = Field(default=8, ge=2)
    multiple: PositiveInt = 1
    minimum: PositiveInt = 1


class Routing(_Strict):
    """What the pass ``route`` makes of a variant, which then answers easy inputs only.

    Options of the pass, and of ``hwopt.routing.hybrid.fit_routed``. ``expert`` is a variant that
    comes before, or the folder of a graph or an artefact. The threshold is chosen on the validation
    split for one wish: a least ``coverage`` (0.7 if there is no wish), a least ``accuracy``, or a
    most expected latency ``mean_ms``.
    """

    expert: str = ""
    cut: str = ""
    router: Literal["learned", "entropy", "doubt"] = "learned"
    width: PositiveInt = 48
    strength: float = Field(default=1.0, ge=0)
    only_router: bool = False
    coverage: float | None = Field(default=None, ge=0, le=1)
    accuracy: float | None = Field(default=None, ge=0, le=1)
    mean_ms: float | None = Field(default=None, gt=0)

    def wish(self) -> dict[str, float]:
        """Return the wishes for the threshold by name; there must be one."""
        found = self.model_dump(include={"coverage", "accuracy", "mean_ms"}, exclude_none=True)
        return found or {"coverage": 0.7}


class Training(_Strict):
    """Arguments of ``hwopt.train.fit``; see there."""

    epochs: PositiveInt = 7
    batch_size: PositiveInt = 128
    learning_rate: float = Field(default=0.2, gt=0)
    optimizer: Literal["sgd", "adamw", "alig", "alig-plus", "borat", "vcsg"] = "sgd"
    optimizer_options: dict[str, int | float] = {}
    schedule: Literal["one-cycle", "cosine", "linear", "constant"] = "one-cycle"
    weight_decay: float = Field(default=5e-4, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    augment: Literal["flip", "shift", "shift-flip"] | None = None
    bfloat16: bool = False
    penalty: Penalty | None = None
    constraints: Constraints | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``fit`` that are not terms of the objective."""
        return self.model_dump(exclude={"penalty", "constraints"})


class FineTuning(Training):
    """The same after passes, from the weights that are left: shorter and gentler."""

    epochs: PositiveInt = 5
    learning_rate: float = Field(default=0.1, gt=0)


class Variant(_Strict):
    """One compiled model: the passes that make it, and how it is trained after them.

    Attributes:
        passes: text.
        fine_tune: train after passes that change the function.
        rounds: apply the passes bit by bit in so many rounds, with all of ``fine_tune`` after each.
        growth: how the ratios of the passes grow over the rounds.
        distill: learn from the network before the passes, too.
        align: stay near to its weights.
        binary: train the weights of binary layers to +1 and -1, and freeze them.
        budget: lose channels while training, until the measured latency is within a budget.
        route: ask an expert about what is hard.
    """

    passes: str = ""
    fine_tune: bool = True
    rounds: PositiveInt = 1
    growth: Literal["uniform", "geometric", "cubic"] = "uniform"
    distill: Distillation | None = None
    align: Alignment | None = None
    binary: Binary | None = None
    budget: Budget | None = None
    route: Routing | None = None

    @property
    def changes(self) -> bool:
        """Whether the network computes another function than before; training may be next."""
        parsed = passes.parse(self.passes)
        return bool(self.binary or self.budget) or any(not p.preserves_function for p in parsed)

    @property
    def of_training(self) -> list[str]:
        """Its keys that mean nothing without training."""
        keys = [key for key in ("distill", "align", "binary", "budget") if getattr(self, key)]
        return (["rounds"] if self.rounds > 1 else []) + keys


class Recipe(_Strict):
    """The whole job.

    Attributes:
        model: zoo name, ``torchvision:NAME``, ``timm:NAME``, ``package.module:callable``,
            ``.pt2``, ``.onnx`` or a saved graph.
        model_options: keyword arguments, for those that are functions.
        input_shape: shape of one input without the batch; by default that of the data.
        data: a data set's name, a folder of images or ``package.module:callable``.
        data_fallback: use digits, and say so, if fashion-mnist cannot be had.
        train: how to train the model first; None takes its weights as they are.
        fine_tune: how to train a variant after passes that change the function; None does not.
        variants: by name; the first is the one that ratios refer to.
        target: name of a target or path of its file.
        threads: threads of kernels, training and peers; None takes the target's.
        trials: most candidates measured for one kernel; None is the tuner's default.
        peers: what to measure beside the artefacts, in the same run.
        check_samples: test samples on which artefact and torch must agree.
        runs: measured calls of each artefact and peer; where it is given, also of the networks that
            passes and searches compare.
        seed: of weights, training and tuning.
    """

    model: str
    model_options: dict[str, int | float | str | bool] = {}
    input_shape: tuple[PositiveInt, ...] | None = None
    data: str
    data_fallback: bool = False
    train: Training | None = None
    fine_tune: FineTuning | None = FineTuning()
    variants: dict[str, Variant] = Field(default={"dense": Variant()}, min_length=1)
    target: str = "host"
    threads: PositiveInt | None = None
    trials: int | None = Field(default=None, ge=0)
    peers: tuple[str, ...] = ("onnxruntime",)
    check_samples: PositiveInt = 1000
    runs: PositiveInt = 500
    seed: int = Field(default=0, ge=0, lt=2**31)

    @property
    def baseline(self) -> str:
        """The variant that ratios refer to."""
        return next(iter(self.variants))

    @property
    def runs_of_comparisons(self) -> int | None:
        """Measured calls of networks that are compared; None takes as many as that needs."""
        return self.runs if "runs" in self.model_fields_set else None
