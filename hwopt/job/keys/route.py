"""``route``: a variant answers easy inputs, and asks an expert about the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from hwopt.errors import HwoptError
from hwopt.files import sha256
from hwopt.graph import Graph
from hwopt.graph.storage import GRAPH_FILE
from hwopt.job.keys.base import VariantKey
from hwopt.job.steps import GraphStep

if TYPE_CHECKING:
    from hwopt.job.recipe import Recipe
    from hwopt.job.variants import VariantSteps
    from hwopt.passes import Context, PassResult

#: No score is so far from 0: everything is easy, or hard.
_FAR = 1e30
#: Share of the inputs that are to be easy where nothing is wished for.
COVERAGE = 0.7


class Routing(VariantKey):
    """What the pass ``route`` makes of a variant, which then answers easy inputs only.

    Options of the pass, and of ``hwopt.routing.hybrid.fit_routed``. The threshold is chosen on the
    validation split for one wish: ``coverage``, ``quality`` or ``mean_ms``.

    Attributes:
        expert: a variant that comes before, or the folder of a graph or an artefact; without one
            the network itself is the expert, and gets an exit ...
        cut: ... here.
        router: who says what is hard.
        width: of a learned router; by default that of the pass.
        strength: of a learned router's own loss; by default 1.
        only_router: of a learned router: leave the network as it is.
        coverage: the least share of easy inputs; 0.7 if there is no wish.
        quality: at least so good, by the metric of the task.
        mean_ms: the most expected latency in ms.
    """

    is_of_training: ClassVar[bool] = False

    expert: str = ""
    cut: str = ""
    router: Literal["learned", "entropy", "doubt"] = "learned"
    width: PositiveInt | None = None
    strength: float | None = Field(default=None, ge=0)
    only_router: bool = False
    coverage: float | None = Field(default=None, ge=0, le=1)
    quality: float | None = None
    mean_ms: float | None = Field(default=None, gt=0)

    @property
    def wishes(self) -> dict[str, float]:
        """The wishes for the threshold that were given, by name."""
        return self.model_dump(include={"coverage", "quality", "mean_ms"}, exclude_none=True)

    @property
    def trains(self) -> bool:
        """Whether there is something new that must be trained: a router, or an exit."""
        return self.router == "learned" or not self.expert

    def check(self, name: str, recipe: Recipe, where: str) -> None:
        """Refuse what would fail after the networks were trained only."""
        where = f"{where}: route"
        self._check_expert(name, list(recipe.variants), where)
        if len(self.wishes) > 1:
            raise HwoptError(f"{where} is for {' and '.join(self.wishes)}: keep one")
        of_learned = {
            "only_router": self.only_router,
            "strength": self.strength is not None,
            "width": self.width is not None,
        }
        given = [option for option, is_given in of_learned.items() if is_given]
        if self.router != "learned" and given:
            raise HwoptError(f"{where}: {given[0]} is of the learned router, not of {self.router}")
        if self.only_router and not self.expert:
            raise HwoptError(
                f"{where}: with only_router the exit would not be trained: leave it out"
            )
        if self.trains:
            self._check_training(recipe, where)

    def _check_expert(self, name: str, names: list[str], where: str) -> None:
        before = names[: names.index(name)]
        if not self.expert and not self.cut:
            raise HwoptError(f"{where} needs an expert, or a cut where the network gets an exit")
        if self.expert in names and self.expert not in before:
            raise HwoptError(f"{where}: the expert {self.expert} must come before {name}")
        if self.expert and self.expert not in before and not Path(self.expert).is_dir():
            raise HwoptError(
                f"{where}: the expert {self.expert!r} is no folder, and of the variants before it "
                + (f"there are {', '.join(before)}" if before else "there is none")
            )

    def _check_training(self, recipe: Recipe, where: str) -> None:
        from hwopt.train import optimizers

        fine_tune = recipe.fine_tune
        if fine_tune is None:
            raise HwoptError(f"{where} has something to train, which fine_tune must describe")
        for term in fine_tune.keys:
            raise HwoptError(f"{where}: its training knows no {term}: leave it out of fine_tune")
        if optimizers.needs_task_alone(fine_tune.optimizer):
            raise HwoptError(
                f"{where}: {fine_tune.optimizer} needs the loss of the task alone, which that of a "
                "router is not: choose sgd, adamw or vcsg"
            )

    def rehearse(self, graph: Graph, base: Graph, steps: VariantSteps) -> None:
        """Join the network with its expert, as far as that is known."""
        expert = steps.untrained_expert(self, base)
        if expert is not None or not self.expert:
            self._joined(graph, expert, steps.trainer.context())

    def steps_after(self, steps: VariantSteps) -> list[GraphStep]:
        """Join, train what is new, and choose the threshold."""
        expert, of_expert = steps.expert(self)
        depends_on: list[Any] = [of_expert, self.model_dump()]
        if self.trains:
            assert steps.trainer.recipe.fine_tune is not None
            depends_on.append(steps.trainer.recipe.fine_tune.arguments())
        if self.mean_ms:
            depends_on += steps.trainer.measures_by

        def join(graph: Graph, scratch: Path) -> tuple[Graph, list[str]]:
            try:
                return self._routed(graph, expert, steps, scratch)
            except HwoptError as error:
                raise HwoptError(f"variant {steps.name}: route: {error}") from None

        return [GraphStep("route", depends_on, join)]

    def _joined(self, graph: Graph, expert: Graph | None, context: Context) -> PassResult:
        """Apply the pass ``route``."""
        from hwopt.passes.route import Route

        width = Route.width if self.width is None else self.width
        one = Route(cut=self.cut, router=self.router, width=width)
        result = one.apply(graph, context) if expert is None else one.joined(graph, expert, context)
        result.graph.history = (*result.graph.history, str(one))
        return result

    def _routed(
        self, graph: Graph, expert: Graph | None, steps: VariantSteps, checkpoint: Path
    ) -> tuple[Graph, list[str]]:
        """Return a graph with a trained router and a threshold, and notes on them.

        Raises:
            HwoptError: if the networks do not fit, or no threshold gives what is wished for.
        """
        from hwopt.passes.route import Route
        from hwopt.passes.routing import with_threshold
        from hwopt.routing.hybrid import fit_routed
        from hwopt.routing.routed_parts import judged
        from hwopt.routing.routes import choose_point, route_points

        trainer = steps.trainer
        context, data, task = trainer.context(), trainer.data, trainer.task
        result = self._joined(graph, expert, context)
        notes = [f"{Route.name}: {note}" for note in result.notes]
        joined, wish = result.graph, self.wishes or {"coverage": COVERAGE}
        if self.trains:
            assert steps.trainer.recipe.fine_tune is not None
            options = steps.trainer.fit_arguments(steps.trainer.recipe.fine_tune)
            joined = fit_routed(
                joined,
                data,
                task,
                coverage=wish.get("coverage", COVERAGE),
                strength=1.0 if self.strength is None else self.strength,
                only_router=self.only_router,
                checkpoint=checkpoint,
                **{key: value for key, value in options.items() if key != "label_smoothing"},
            )
        ways = (0.0, 1.0)
        if self.mean_ms is not None:
            assert context.latency is not None
            easy_ms, hard_ms = context.latency([with_threshold(joined, t) for t in (_FAR, -_FAR)])
            ways = easy_ms, hard_ms
            notes.append(
                f"latency: {easy_ms:.4g} ms of an easy input, {hard_ms:.4g} ms of a hard one"
            )
        points = route_points(*judged(joined, data.validation, task), ways)
        point = choose_point(points, **wish, metric=task.metric)
        expected = f", {point.mean_ms:.4g} ms expected" if self.mean_ms is not None else ""
        notes.append(
            f"threshold {point.threshold:.4g}: on held-out samples {100 * point.coverage:.1f} % "
            f"are easy, {task.metric.name} {task.metric.show(point.quality)}{expected}"
        )
        return with_threshold(joined, point.threshold), notes

    def saved_expert(self) -> Graph | None:
        """Return the expert that a folder has, if one is named."""
        return Graph.load(Path(self.expert)) if self.expert else None

    def expert_file(self) -> str:
        """Return the hash of the saved expert's graph, which has that of its weights."""
        file = Path(self.expert) / GRAPH_FILE
        return sha256(file) if self.expert and file.exists() else ""
