"""Accuracy, size and latency of the main job on Fashion-MNIST, for several seeds.

    python -m benchmarks.main_job            # seeds 0, 1, 2

The recipe is that of ``make demo``; a line holds the table of one seed.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.records import Records
from hwopt.optimize import Job, load_recipe, make_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "demo.yaml"
SEEDS = (0, 1, 2)


def run(seed: int) -> dict:
    """Run the job of one seed and return its figures."""
    recipe = make_recipe({**load_recipe(RECIPE).model_dump(mode="json"), "seed": seed})
    folder = Path("runs") / f"main-job-{seed}"
    results = Job(recipe, folder, bars=False).run()
    seconds = {
        step: json.loads((folder / "steps" / f"{step}.json").read_text())["result"]["seconds"]
        for step in ("train", "pruned.fine-tune")
    }
    return {"seconds": seconds, "data": results["data"], "variants": results["variants"]}


def main() -> None:
    records = Records("main_job")
    recipe = load_recipe(RECIPE).model_dump(mode="json")
    for seed in SEEDS:
        records.run({"recipe": recipe, "seed": seed}, lambda seed=seed: run(seed))


if __name__ == "__main__":
    main()
