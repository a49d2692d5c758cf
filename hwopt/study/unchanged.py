"""What is done with the unchanged network of a study: trained, measured, looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt import __version__
from hwopt.compiler import load
from hwopt.compiler.kernels_of import footprint_of
from hwopt.compiler.machines import alone_on
from hwopt.files import read_json, sha256, write_json
from hwopt.graph import Graph
from hwopt.optimize import Variant, asked_peers
from hwopt.optimize.routed import expert_file
from hwopt.optimize.variant_steps import own_source
from hwopt.optimize.workspace import digest
from hwopt.search.space import Space
from hwopt.study.candidate import MODEL, ROUTE
from hwopt.study.files import SPACE_FILE
from hwopt.study.in_peers import in_peers
from hwopt.study.networks import BASE

if TYPE_CHECKING:
    from hwopt.compiler import Artifact
    from hwopt.study.setting import Setting


class Unchanged:
    """The work on the unchanged network; what is done already is not done again.

    Args:
        setting: of the study.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting, self.job = setting, setting.job
        self.recipe, self.search = setting.recipe, setting.search

    def base(self) -> None:
        """Train the unchanged network."""
        self.job.trained()

    def prepare(self) -> None:
        """Train and compile the unchanged network; write the space and what is known of it."""
        if self.search.only:  # a wrong name is said before hours of training
            self._space(self.job.imported)
        base, key = self.job.trained()
        facts, _ = self.job.variant(BASE, Variant(), base, key)
        accuracy = self.setting.networks.validated(BASE, base, key)
        artifact = load(self.job.work.path("artifacts", BASE), target=self.job.target)
        target = self.job.target
        measured = [key, target.fingerprint(), self.recipe.trials, self.recipe.runs]
        latency, _ = self.job.work.step(
            f"{BASE}.latency", measured, lambda: self._benchmark(artifact)
        )
        # Multiples of one latency are compared, so all are of the day on which it was measured.
        scale = self.setting.latency.base_ms(base) / latency["median_ms"]
        latency |= {name: scale * ms for name, ms in latency.items() if name.endswith("_ms")}
        space = self._space(base)
        depends_on = [
            *(key, target.fingerprint(), self.search.space, space.dimensions),
            [sha256(Path(file)) for file in self.setting.plugins],
            [own_source(type(one)) for one in space.passes],
            [expert_file(route) for route in self.search.routes],
        ]
        known: dict[str, Any] = {"dimensions": space.dimensions, "table": {}, "refused": []}
        if self.search.sampler == "guided":
            known, _ = self.job.work.step("space", depends_on, lambda: self._known(space, base))
        names = ("macs", "parameters", "kernels")
        footprint = footprint_of(base, target)
        document = {
            **known,
            # Samplers of Optuna's choose from what passes refuse, too: theirs is another space.
            "key": digest([__version__, *depends_on, known["dimensions"]]),
            "data": self.setting.samples.name,
            "notes": self.job.notes() + known["refused"],
            "baseline": {
                **{name: facts[name] for name in names},
                "bytes": footprint.kept_bytes,
                "memory_bytes": footprint.activation_bytes,
                "accuracy": accuracy,
                "test_accuracy": facts["accuracy"],
                "latency": latency,
            },
        }
        write_json(self.setting.folder / SPACE_FILE, document)

    def _benchmark(self, artifact: Artifact) -> dict[str, Any]:
        with alone_on(self.job.target):
            return artifact.benchmark(runs=self.recipe.runs).to_json()

    def _known(self, space: Space, base: Graph) -> dict[str, Any]:
        models = {
            name: [
                self.setting.networks.of_model({name.removeprefix(MODEL): value}).imported
                for value in values[1:]
            ]
            for name, values in space.dimensions.items()
            if name.startswith(MODEL)
        }
        return self.setting.known.of(space, base, models)

    def in_peers(self) -> dict[str, Any]:
        """Measure the unchanged network in the recipe's peers; see :func:`in_peers`."""
        base, key = self.job.trained()
        self.job.variant(BASE, Variant(), base, key)
        target, work = self.job.target, self.job.work
        names = asked_peers.measurable(self.recipe, target)
        baseline = read_json(self.setting.folder / SPACE_FILE)["baseline"]["latency"]

        def measured() -> dict[str, Any]:
            artifact = load(work.path("artifacts", BASE), target=target)
            folder = work.path("peers", BASE)
            return in_peers(
                names, artifact, target, self.setting.samples, folder, self.recipe.runs, baseline
            )

        depends_on = [key, names, target.fingerprint(), self.recipe.runs, baseline]
        found, _ = work.step("peers", depends_on, measured)
        return dict(found)

    def _space(self, base: Graph) -> Space:
        return Space.of(
            base,
            self.search.space,
            self.job.compression.context(),
            levels=self.search.levels,
            only=self.search.only,
            others={
                ROUTE: tuple(range(len(self.search.routes) + 1)),
                **{
                    MODEL + name: tuple(dict.fromkeys((self.recipe.model_options[name], *values)))
                    for name, values in self.search.model_options.items()
                },
            },
        )
