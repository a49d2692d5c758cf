"""``hwopt optimize`` killed with SIGKILL at ten random moments, each time resumed.

    python -m benchmarks kill_resume

The job is the demo's on digits, with epochs enough that some kills fall in training, and with real
tuning. It is first run without a disturbance; the disturbed run must end with the same accuracy,
parameters, MACs and notes. Latency is measured anew: both ratios to dense are recorded, and need
not be equal.
"""

from __future__ import annotations

import json
import os
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.experiment import Experiment, Key
from benchmarks.killed import killed, optimize, same_table, whole
from benchmarks.records import measured_on
from hwopt.job import JobResults

KILLS = 10
RECIPE = {
    "model": "resnet8",
    "data": "digits",
    "train": {"epochs": 40},
    "fine_tune": {"epochs": 20, "learning_rate": 0.1},
    "variants": {"dense": "", "pruned": "prune-channels{ratio=0.3,multiple=4}"},
    "check_samples": 300,
    "runs": 200,
    "comparison_runs": 200,
}


def environment(folder: Path, name: str) -> dict[str, str]:
    """Each run tunes into a database of its own."""
    return {**os.environ, "HWOPT_HOME": str(folder / f"home-{name}")}


def disturbed(seed: int, **_: Any) -> dict:
    """Run undisturbed, then with kills; compare the tables."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        recipe = folder / "recipe.json"
        recipe.write_text(json.dumps(RECIPE))
        calm, other = folder / "calm", folder / "killed"
        seconds = whole(optimize(recipe, calm), environment(folder, "calm"))
        command = optimize(recipe, other)
        kills = killed(command, environment(folder, "killed"), KILLS, seconds / 12, seed)
        tables = [JobResults.of(one).variants for one in (calm, other)]
        ratios = [table["pruned"].ratio_to_baseline for table in tables]
        left = [path.name for path in folder.rglob("*.part")]
        return {
            "kills": kills,
            "same_table": same_table(calm, other),
            "ratios_to_dense": ratios,
            "calm_seconds": round(seconds),
            "half_written_files": left,
        }


def section(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Killed and resumed."""
    yield "## Killed ten times\n\n`python -m benchmarks kill_resume`"
    for run in runs:
        places = ", ".join(f"{kill['in']} ({kill['after']} s)" for kill in run["kills"])
        yield (
            f"`hwopt optimize` on digits, killed with SIGKILL {len(run['kills'])} times, each time "
            f"started again; the step it was in, and seconds since its start: {places}."
        )
        calm, killed = run["ratios_to_dense"]
        yield (
            "Accuracy, parameters, MACs, passes and notes equal those of the undisturbed job: "
            f"**{'yes' if run['same_table'] else 'no'}**. Latency of the pruned to the dense: "
            f"{calm:.2f} undisturbed, {killed:.2f} killed. Files left half-written: "
            f"{len(run['half_written_files'])}."
        )
    yield measured_on(runs)


def keys(_: Namespace) -> Iterator[Key]:
    """Yield the only one."""
    yield {"kill_count": KILLS, "seed": 0}


EXPERIMENTS = (
    Experiment(
        name="kill_resume",
        about="a job killed at ten random moments, each time resumed",
        chapter="robustness",
        keys=keys,
        run=disturbed,
        section=section,
    ),
)
