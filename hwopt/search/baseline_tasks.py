"""Tasks that are done with the baseline of a study: trained, measured, looked at.

What a study's folder has of it already is not done again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwopt.compiler import load
from hwopt.compiler.kernels_of import footprint_of
from hwopt.compiler.latency import Latency
from hwopt.compiler.machines import alone_on
from hwopt.files import read_json, sha256, write_json
from hwopt.graph import Graph
from hwopt.job import Variant, asked_peers
from hwopt.job.steps import own_source
from hwopt.job.workspace import digest
from hwopt.search.candidate import MODEL, ROUTE
from hwopt.search.files import SPACE_FILE
from hwopt.search.in_peers import in_peers
from hwopt.search.networks import BASELINE
from hwopt.search.results import Baseline
from hwopt.search.samplers import needs_table
from hwopt.search.space import Space
from hwopt.version import __version__

if TYPE_CHECKING:
    from hwopt.compiler import Artifact
    from hwopt.search.setting import Setting


@dataclass(frozen=True)
class TrainBaseline:
    """Train the baseline, with all threads of the target."""

    def run(self, setting: Setting) -> None:
        """Do it."""
        setting.job.trained()


@dataclass(frozen=True)
class PrepareSpace:
    """Train and compile the baseline; write the space and what is known of it."""

    def run(self, setting: Setting) -> None:
        """Do it."""
        job, search, recipe = setting.job, setting.search, setting.recipe
        if search.only:  # a wrong name is said before hours of training
            _space(setting, job.imported)
        network = job.trained()
        base, key = network
        facts, _ = job.variant(BASELINE, Variant(), network)
        judged = setting.networks.validated(BASELINE, network)
        target = job.target
        artifact = load(job.work.path("artifacts", BASELINE), target=target)
        measured_by = [key, target.fingerprint(), recipe.kernel_trials, recipe.runs]
        latency, _ = job.work.step(
            f"{BASELINE}.latency", measured_by, lambda: _benchmark(setting, artifact)
        )
        # Multiples of one latency are compared, so all are of the day on which it was measured.
        measured = Latency(**latency)
        scale = setting.latency.base_ms(base) / measured.median_ms
        space = _space(setting, base)
        depends_on = [
            *(key, target.fingerprint(), search.space, space.dimensions),
            [sha256(Path(file)) for file in setting.plugins],
            [own_source(type(one)) for one in space.passes],
            [route.expert_file() for route in search.routes],
        ]
        known: dict[str, Any] = {"dimensions": space.dimensions, "table": {}, "refused": []}
        if needs_table(search.sampler):
            known, _ = job.work.step("space", depends_on, lambda: _known(setting, space, base))
        names = ("macs", "parameters", "kernels")
        footprint = footprint_of(base, target)
        document = {
            **known,
            # Samplers of Optuna's choose from what passes refuse, too: theirs is another space.
            "key": digest([__version__, *depends_on, known["dimensions"]]),
            "data": setting.samples.name,
            "notes": job.notes() + known["refused"],
            "baseline": Baseline(
                **{name: facts[name] for name in names},
                bytes=footprint.kept_bytes,
                memory_bytes=footprint.activation_bytes,
                **judged,
                test_quality=facts["quality"],
                latency=measured.interval(scale),
            ).to_json(),
        }
        write_json(setting.folder / SPACE_FILE, document)


@dataclass(frozen=True)
class MeasurePeers:
    """Measure the baseline in the recipe's peers."""

    def run(self, setting: Setting) -> dict[str, Any]:
        """Return what :func:`hwopt.search.in_peers.in_peers` does."""
        job, recipe = setting.job, setting.recipe
        network = job.trained()
        job.variant(BASELINE, Variant(), network)
        target, work = job.target, job.work
        names = asked_peers.measurable(recipe, target)
        baseline = read_json(setting.folder / SPACE_FILE)["baseline"]["latency"]["median_ms"]

        def measured() -> dict[str, Any]:
            artifact = load(work.path("artifacts", BASELINE), target=target)
            folder = work.path("peers", BASELINE)
            return in_peers(
                names, artifact, target, setting.samples, job.task, folder, recipe.runs, baseline
            )

        depends_on = [network.key, names, target.fingerprint(), recipe.runs, baseline]
        found, _ = work.step("peers", depends_on, measured)
        return dict(found)


def _benchmark(setting: Setting, artifact: Artifact) -> dict[str, Any]:
    with alone_on(setting.job.target):
        return artifact.benchmark(runs=setting.recipe.runs).to_json()


def _known(setting: Setting, space: Space, base: Graph) -> dict[str, Any]:
    models = {
        name: [
            setting.networks.of_model({name.removeprefix(MODEL): value}).imported
            for value in values[1:]
        ]
        for name, values in space.dimensions.items()
        if name.startswith(MODEL)
    }
    return setting.known.of(space, base, models)


def _space(setting: Setting, base: Graph) -> Space:
    search = setting.search
    return Space.of(
        base,
        search.space,
        setting.job.context(),
        levels=search.levels,
        only=search.only,
        others={
            ROUTE: tuple(range(len(search.routes) + 1)),
            **{
                MODEL + name: tuple(dict.fromkeys((setting.recipe.model_options[name], *values)))
                for name, values in search.model_options.items()
            },
        },
    )
