"""The main job: import, train, compress, fine-tune, compile, check, measure."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt import __version__, data, models, passes, peers, targets, train
from hwopt.compiler import compile as compile_model
from hwopt.compiler import load, measure, record_figures
from hwopt.errors import HwoptError
from hwopt.files import sha256, write_json
from hwopt.graph import Graph
from hwopt.models.source import load_graph
from hwopt.optimize.recipe import Recipe, Training, Variant
from hwopt.optimize.results import MEASURED, compare
from hwopt.optimize.workspace import Workspace, digest

if TYPE_CHECKING:
    from hwopt.data import DataSet

RESULTS_FILE = "results.json"
#: Largest absolute difference between artefact and torch that counts as equal.
TOLERANCE = 1e-4

Progress = Callable[[int, int, str, float | None], None]


class Job:
    """A recipe at work in a folder.

    Args:
        recipe: what to do.
        folder: where graphs, artefacts and records go; a job found there is resumed.
        report: called with (step, whether its result was there already).
        tuning: progress of compiling; see ``hwopt.compile``.
        bars: show progress bars of training.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        report: Callable[[str, bool], None] | None = None,
        tuning: Progress | None = None,
        bars: bool = True,
    ) -> None:
        self.recipe = recipe
        self.work = Workspace(folder, report)
        self.tuning = tuning
        self.bars = bars
        self.target = targets.get(recipe.target)
        self.data: DataSet = data.load(recipe.data, fallback=recipe.data_fallback)

    def run(self) -> dict[str, Any]:
        """Do what is not done yet, write ``results.json`` and return its content.

        Raises:
            HwoptError: if a step fails for a reason that the user can mend.
        """
        base, base_key = self.trained()
        variants, keys = {}, {}
        for name, variant in self.recipe.variants.items():
            variants[name], keys[name] = self.variant(name, variant, base, base_key)
        measured_peers = [peer for peer in self.recipe.peers if peers.available(peer)]
        latencies, _ = self.work.step(
            "measure", [keys, measured_peers, self.recipe.runs], self.measured
        )
        table = compare(variants, latencies, self.recipe)
        for name, facts in table.items():
            figures = {key: facts[key] for key in MEASURED}
            record_figures(self.work.path("artifacts", name), figures)
        results = {
            "hwopt": __version__,
            "recipe": self.recipe.model_dump(mode="json"),
            "target": {"name": self.target.name, "cpu": self.target.cpu, "isa": self.target.isa},
            "threads": self.target.threads,
            "data": self.data.name,
            "baseline": self.recipe.baseline,
            "notes": self._notes(),
            "variants": table,
        }
        write_json(self.work.path(RESULTS_FILE), results)
        return results

    def _notes(self) -> list[str]:
        """Return what the reader of the results must be told."""
        missing = [peer for peer in self.recipe.peers if not peers.available(peer)]
        notes = [f"{p} was not measured: {peers.install_hint(p)}" for p in missing]
        return [*([self.data.note] if self.data.note else []), *notes]

    # -- the steps -------------------------------------------------------------------------

    def trained(self) -> tuple[Graph, str]:
        """Return the model's graph after training, if the recipe asks for it."""
        recipe = self.recipe
        folder = self.work.path("graphs", "base")
        depends_on = [
            __version__,
            recipe.model,
            _file_hash(recipe.model),
            recipe.model_options,
            recipe.input_shape,
            self.data.name,
            recipe.seed,
        ]
        _, key = self.work.step("import", depends_on, lambda: self._import().save(folder))
        if recipe.train is None:
            return Graph.load(folder), key
        return self._fit("train", folder, recipe.train, key)

    def _import(self) -> Graph:
        recipe = self.recipe
        source = recipe.model
        if source in models.names() or ":" in source:
            shape = recipe.input_shape or self.data.input_shape
            classes = self.data.num_classes if source in models.names() else None
            options = dict(recipe.model_options)
            return load_graph(
                source, input_shape=shape, num_classes=classes, options=options, seed=recipe.seed
            )
        return load_graph(
            source, input_shape=recipe.input_shape, options=dict(recipe.model_options)
        )

    def variant(
        self, name: str, variant: Variant, base: Graph, base_key: str
    ) -> tuple[dict[str, Any], str]:
        """Return the facts of one variant: passes, fine-tuning, compiling, checking."""
        folder = self.work.path("graphs", name)

        def transform() -> dict[str, Any]:
            context = passes.Context(seed=self.recipe.seed)
            passes.apply(base, variant.passes, context).save(folder)
            return {"notes": [f"{passed}: {note}" for passed, note in context.notes]}

        facts, key = self.work.step(f"{name}.passes", [base_key, variant.passes], transform)
        graph = Graph.load(folder)
        changes = any(not p.preserves_function for p in passes.parse(variant.passes))
        if changes and variant.fine_tune and self.recipe.fine_tune is not None:
            graph, key = self._fit(f"{name}.fine-tune", folder, self.recipe.fine_tune, key)
        accuracy, _ = self.work.step(f"{name}.accuracy", key, lambda: self._accuracy(graph))
        compiled, key = self.work.step(
            f"{name}.compile",
            [key, self.target.fingerprint(), self.recipe.trials],
            lambda: self._compile(name, graph),
        )
        checked, _ = self.work.step(
            f"{name}.check", [key, self.recipe.check_samples], lambda: self._check(name, graph)
        )
        result = {"passes": variant.passes, **facts, **accuracy, **compiled, "check": checked}
        return result, key

    def _fit(self, step: str, source: Path, training: Training, key: str) -> tuple[Graph, str]:
        """Train the graph in ``source``; the result is kept beside it."""
        trained = self.work.path("graphs", step)
        depends_on = [key, training.model_dump()]
        # The name holds what the training depends on: a checkpoint of another is not resumed.
        checkpoint = self.work.path("checkpoints", f"{step}-{digest(depends_on)}.safetensors")

        def fit() -> dict[str, Any]:
            graph = Graph.load(source)
            module = graph.to_torch()
            start = time.perf_counter()
            train.fit(
                module,
                self.data.train_full,
                seed=self.recipe.seed,
                threads=self.target.threads,
                checkpoint=checkpoint,
                progress=self.bars,
                **training.model_dump(),
            )
            seconds = round(time.perf_counter() - start, 1)
            graph.with_weights_of(module).save(trained)
            return {"seconds": seconds}

        _, key = self.work.step(step, depends_on, fit)
        checkpoint.unlink(missing_ok=True)
        return Graph.load(trained), key

    def _accuracy(self, graph: Graph) -> dict[str, Any]:
        result = train.evaluate(graph.to_torch(), self.data.test)
        return {"accuracy": result.accuracy, "test_samples": result.samples}

    def _compile(self, name: str, graph: Graph) -> dict[str, Any]:
        artifact = compile_model(
            graph,
            target=self.target,
            trials=self.recipe.trials,
            seed=self.recipe.seed,
            output=self.work.path("artifacts", name),
            progress=self.tuning,
        )
        manifest = artifact.manifest
        return {
            "macs": manifest.macs,
            "parameters": manifest.parameters,
            "bytes": artifact.bytes(),
            "compile_seconds": manifest.compile_seconds,
            "kernels": [kernel.model_dump() for kernel in manifest.kernels],
        }

    def _check(self, name: str, graph: Graph) -> dict[str, Any]:
        """Compare the artefact with torch on test samples.

        Raises:
            HwoptError: if they do not agree; nothing that is wrong is ever measured.
        """
        import torch

        artifact = load(self.work.path("artifacts", name))
        module = graph.to_torch().eval()
        samples = min(self.recipe.check_samples, len(self.data.test))  # type: ignore[arg-type]
        inputs, _ = data.batch(self.data.test, torch.arange(samples))
        with torch.no_grad():
            expected = module(inputs).numpy()
        got = np.concatenate([artifact(inputs[i : i + 1].numpy()) for i in range(samples)])
        difference = float(np.abs(expected - got).max())
        same = int((expected.argmax(1) == got.argmax(1)).sum())
        if not difference <= TOLERANCE or same < samples:
            raise HwoptError(
                f"variant {name}: the artefact differs from torch by {difference:.2e} "
                f"({same} of {samples} labels are the same): please report this as a bug"
            )
        return {"samples": samples, "max_difference": difference, "same_label": same}

    def measured(self) -> dict[str, dict[str, Any]]:
        """Measure all artefacts and peers in one run, alternating."""
        calls: dict[str, Callable[[], object]] = {}
        for name in self.recipe.variants:
            artifact = load(self.work.path("artifacts", name))
            inputs = artifact.random_inputs(self.recipe.seed)
            calls[name] = functools.partial(artifact, *inputs)
            for peer in filter(peers.available, self.recipe.peers):
                folder = self.work.path("peers", name)
                graph = artifact.graph()
                calls[f"{name}/{peer}"] = peers.make(
                    peer, graph, inputs, self.target.threads, folder
                )
        latencies = measure(calls, threads=self.target.threads, runs=self.recipe.runs)
        return {name: latency.to_json() for name, latency in latencies.items()}


def start_fresh(folder: Path) -> None:
    """Remove what an earlier job left, but nothing else that may be in the folder."""
    for part in ("steps", "graphs", "artifacts", "peers", "checkpoints"):
        shutil.rmtree(folder / part, ignore_errors=True)


def _file_hash(source: str) -> str | None:
    path = Path(source)
    if path.is_dir():
        return sha256(path / "weights.safetensors")
    return sha256(path) if path.is_file() else None
