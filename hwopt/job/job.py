"""The main job: import, train, compress, fine-tune, compile, check, measure."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt import targets, tasks
from hwopt.compiler import compile as compile_model
from hwopt.compiler import load, record_figures
from hwopt.compiler.machines import release_boards
from hwopt.documents import TargetFacts
from hwopt.errors import HwoptError
from hwopt.files import RESULTS_FILE
from hwopt.graph import Graph
from hwopt.graph.fingerprint import fingerprint
from hwopt.job import asked_peers
from hwopt.job.check import check
from hwopt.job.compare import compare, masked_share, routed_notes, sparse_notes
from hwopt.job.differences import most_different
from hwopt.job.facts import MetricFacts
from hwopt.job.gains import earlier, step_facts
from hwopt.job.importing import import_for, load_data
from hwopt.job.measuring import measure_variants
from hwopt.job.quality import judge, lost
from hwopt.job.recipe import Recipe, Variant
from hwopt.job.results import MEASURED, JobResults
from hwopt.job.steps import GraphStep, Network, do, own_source
from hwopt.job.trainer import Trainer
from hwopt.job.variants import Variants
from hwopt.job.workspace import Workspace, start_fresh
from hwopt.models.source import are_random
from hwopt.passes.routing import is_routed
from hwopt.routing.routed_parts import coverage_of
from hwopt.train.cpu import set_threads
from hwopt.version import __version__

if TYPE_CHECKING:
    from hwopt.data import DataSet
    from hwopt.passes import Context
    from hwopt.targets.progress import Progress
    from hwopt.tasks import Task


class Job:
    """A recipe at work in a folder.

    Args:
        recipe: what to do.
        folder: where graphs, artefacts and records go; a job found there is resumed.
        report: called with (step, whether its result was there already).
        tuning: progress of compiling; see ``hwopt.compile``.
        bars: show progress bars of training.
        data_set: other data than the recipe's.
        training_threads: of this machine, for training; None takes those of the target.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        report: Callable[[str, bool], None] | None = None,
        tuning: Progress | None = None,
        bars: bool = True,
        data_set: DataSet | None = None,
        training_threads: int | None = None,
    ) -> None:
        self.recipe = recipe
        self.work = Workspace(folder, report)
        self.tuning = tuning
        self.target = targets.get(recipe.target, threads=recipe.threads)
        self.data = data_set or load_data(recipe)
        self._task = tasks.find(recipe.task)
        self.trainer = Trainer(
            recipe,
            self.work,
            self.data,
            lambda: self.task,
            self.target,
            tuning,
            bars,
            training_threads,
        )
        self.variants = Variants(self.trainer)
        #: By variant, what its quality depends on.
        self._judged: dict[str, str] = {}

    def run(self, fresh: bool = False) -> JobResults:
        """Do what is not done yet, write ``results.json`` and return it.

        Args:
            fresh: forget what an earlier job left in the folder.

        Raises:
            HwoptError: if nothing can be measured on the target, a step fails for a reason that the
                user can mend, or another job is at work in the folder.
        """
        targets.require(self.target)
        if fresh:
            start_fresh(self.work.folder)
        with self.work.alone():
            return self._run()

    def _run(self) -> JobResults:
        base = self.trained()
        variants, keys = {}, {}
        for name, variant in self.recipe.variants.items():
            variants[name], keys[name] = self.variant(name, variant, base)
        beside = asked_peers.measurable(self.recipe, self.target)
        depends_on = [keys, beside, self.recipe.runs, "failures"]
        measured, _ = self.work.step("measure", depends_on, self.measured)
        for name in variants:
            variants[name] |= self._beside_baseline(name)
        table = compare(variants, measured["latencies"], self.recipe.baseline)
        for name, facts in table.items():
            figures = facts.model_dump(mode="json", include=MEASURED)
            record_figures(self.work.path("artifacts", name), figures)
        target = self.target
        results = JobResults(
            hwopt=__version__,
            recipe=self.recipe.model_dump(mode="json"),
            target=TargetFacts(name=target.name, cpu=target.cpu, isa=target.isa),
            threads=target.threads,
            data=self.data.name,
            metric=MetricFacts.of(self._task.metric),
            baseline=self.recipe.baseline,
            notes=(
                *self.notes(),
                *measured["failures"],
                *sparse_notes(table),
                *routed_notes(table),
            ),
            variants=table,
        )
        before = earlier(self.work.folder, results)
        results = results.model_copy(update={"earlier": before})
        results.write(self.work.path(RESULTS_FILE))
        return results.in_folder(self.work.folder)

    def notes(self) -> list[str]:
        """Return what the reader of the results must be told."""
        notes = asked_peers.missing(self.recipe, self.target)
        recipe = self.recipe
        if are_random(recipe.model, recipe.weights, recipe.model_options) and not recipe.train:
            notes.append(f"{recipe.model} has random weights: give weights, or train it")
        if self.target.emulated:
            notes.append("all latencies are an emulator's, and those of no device")
        return [*([self.data.note] if self.data.note else []), *notes]

    # -- the steps -------------------------------------------------------------------------

    def trained(self) -> Network:
        """Return the model after training, if the recipe asks for it."""
        training = self.recipe.train
        folder = self.work.path("graphs", "base")
        graph = self.imported
        depends_on = [__version__, fingerprint(graph), self.data.fingerprint(), self.recipe.seed]
        depends_on += [str(self._task), own_source(type(self._task))]
        _, key = self.work.step("import", depends_on, lambda: graph.save(folder), makes=folder)
        self.variants.check(graph, key)
        network = Network(Graph.load(folder), key)
        if training is None:
            return network

        def fit(graph: Graph, scratch: Path) -> tuple[Graph, list[str]]:
            terms = self.trainer.terms(training, graph)
            return self.trainer.fit(graph, training, terms, scratch), []

        step = GraphStep("train", [*self.trainer.facts_of(training), self.trainer.samples], fit)
        return do(self.work, "train", step, network, self.work.path("graphs", "train"))[0]

    @functools.cached_property
    def imported(self) -> Graph:
        """The model's graph before any training.

        Raises:
            HwoptError: if it does not take samples of the data.
        """
        return import_for(self.recipe, self.data, self._task)

    @functools.cached_property
    def task(self) -> Task:
        """What the model is for; to imitate it has the model as a teacher."""
        return self._task.learned_from(lambda: self.imported.to_torch())

    def variant(self, name: str, variant: Variant, base: Network) -> tuple[dict[str, Any], str]:
        """Return the facts of one variant: passes, fine-tuning, compiling, checking."""
        (graph, key), notes = self.variants.make(name, variant, base)
        quality, self._judged[name] = self.work.step(
            f"{name}.quality", key, lambda: self._quality(name, graph), makes=self._scores(name)
        )
        compiled, key = self.work.step(
            f"{name}.compile",
            [key, self.target.fingerprint(), self.recipe.kernel_trials, "memory"],
            lambda: self._compile(name, graph),
            makes=self.work.path("artifacts", name),
        )
        checked, _ = self.work.step(
            f"{name}.check", [key, self.recipe.check_samples], lambda: self._check(name, graph)
        )
        made = {"passes": variant.passes, "notes": notes}
        return {**made, **quality, **compiled, "check": checked}, key

    def compressed(self, name: str, variant: Variant, base: Network) -> tuple[Network, list[str]]:
        """Return a variant of a network before it is compiled, and what its passes said."""
        return self.variants.make(name, variant, base)

    def context(self) -> Context:
        """Return what passes may ask for in this job."""
        return self.trainer.context()

    def kept(self, name: str) -> Graph:
        """Return the graph of a variant that was made."""
        return Graph.load(self.work.path("graphs", name))

    @property
    def threads(self) -> int:
        """Threads of training."""
        return self.trainer.threads

    def _scores(self, name: str) -> Path:
        """Return where it is kept how good a variant is on every test sample."""
        return self.work.path("scores", f"{name}.safetensors")

    def _quality(self, name: str, graph: Graph) -> dict[str, Any]:
        with set_threads(targets.threads_here(self.target)):
            found = judge(graph, self.data.test, self.task, self._scores(name))
            easy = (
                {"easy": coverage_of(graph, self.data.test, self.task)} if is_routed(graph) else {}
            )
        return {**found, **easy}

    def _beside_baseline(self, name: str) -> dict[str, Any]:
        """Return how much worse a variant is at the most, with 95 %, where, and by which step."""
        baseline, folder = self.recipe.baseline, self.work.path("differences", name)
        if name == baseline:
            return {}

        def find() -> dict[str, Any]:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            before, after = ((self.kept(one), self._scores(one)) for one in (baseline, name))
            with set_threads(targets.threads_here(self.target)):
                return {
                    "worse_by": lost(self._task, after[1], before[1]),
                    "differences": most_different(before, after, self.data, self.task, folder),
                    "steps": step_facts(
                        self.variants.folders[name], self.data.test, self.task, self.target
                    ),
                }

        target = [self.target.name, self.target.isa, self.target.float_lanes]
        depends_on = [self._judged[name], self._judged[baseline], target]
        found: dict[str, Any]
        found, _ = self.work.step(f"{name}.beside-baseline", depends_on, find, makes=folder)
        return found

    def _compile(self, name: str, graph: Graph) -> dict[str, Any]:
        artifact = compile_model(
            graph,
            target=self.target,
            kernel_trials=self.recipe.kernel_trials,
            seed=self.recipe.seed,
            output=self.work.path("artifacts", name),
            progress=self.tuning,
        )
        manifest = artifact.manifest
        assert manifest.footprint is not None  # which is so of older artefacts only
        return {
            "macs": manifest.macs,
            "parameters": manifest.parameters,
            "zeros_masked": masked_share(artifact.graph()),
            "bytes": artifact.bytes(),
            "kept_bytes": manifest.footprint.kept_bytes,
            "memory_bytes": manifest.footprint.activation_bytes,
            "has_ways": artifact.has_ways,
            "compile_seconds": manifest.compile_seconds,
            "kernels": [kernel.model_dump() for kernel in manifest.kernels],
        }

    def _check(self, name: str, graph: Graph) -> dict[str, Any]:
        artifact = load(self.work.path("artifacts", name), target=self.target)
        try:
            return check(artifact, graph, self.data.test, self.task, self.recipe.check_samples)
        except HwoptError as error:
            raise HwoptError(f"variant {name}: {error}") from None
        finally:
            release_boards(self.target)

    def measured(self) -> dict[str, Any]:
        """Measure all artefacts and peers in one run; see :func:`measure_variants`."""
        return measure_variants(self.recipe, self.target, self.work, self.data.test, self.task)
