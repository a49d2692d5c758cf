"""Write ``docs/results.md`` from the lines in ``results``.

python -m benchmarks.results_page
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers import float32
from benchmarks.records import Records

PAGE = Path(__file__).parents[1] / "docs" / "results.md"


def table(titles: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; all but the first column are aligned to the right."""
    lines = [titles, ["---"] + ["---:"] * (len(titles) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(run: dict[str, Any]) -> str:
    """Return where a run was measured."""
    return f"{run['cpu']}, {run['isa']}, {run['threads']} threads"


def commits(runs: list[dict[str, Any]]) -> str:
    """Return what code was measured."""
    names = dict.fromkeys(str(run["commit"]) for run in runs if "commit" in run)
    return f"commit {', '.join(names)}"


def lost(run: dict[str, Any]) -> float:
    """Return the points of accuracy that pruning cost."""
    dense, pruned = (run["variants"][name]["accuracy"] for name in ("dense", "pruned"))
    return 100 * (dense - pruned)


def main_job() -> Iterator[str]:
    """The demo's table for every seed, and the goals."""
    runs = Records("main_job").read()
    yield "## The main job: ResNet-8 on Fashion-MNIST\n\n`python -m benchmarks.main_job`"
    yield (
        "The recipe of `make demo`, once a seed. Accuracy is on the 10,000 test images, which "
        "training never sees; latency is the median of 500 calls, batch 1, all columns of a seed "
        "alternating in one run."
    )
    rows = []
    for run in runs:
        for name, facts in run["variants"].items():
            latency = facts["latency"]
            rows.append(
                [
                    str(run["seed"]),
                    name,
                    f"{100 * facts['accuracy']:.2f} %",
                    f"{facts['parameters']:,}",
                    f"{facts['macs'] / 1e6:.2f} M",
                    f"{facts['bytes']:,}",
                    f"{latency['median_ms']:.3f}",
                    f"{latency['p10_ms']:.3f}–{latency['p90_ms']:.3f}",
                    f"{facts['ratio_to_baseline']:.2f}",
                    f"{facts['peers']['onnxruntime']['ratio']:.2f}",
                ]
            )
    titles = ["seed", "variant", "accuracy", "parameters", "MACs", "bytes", "median ms", "p10–p90"]
    yield table([*titles, "to dense", "to ONNX Runtime"], rows)
    rows = [
        [
            str(run["seed"]),
            f"{run['seconds']['train']:.0f} s",
            f"{run['seconds']['pruned.fine-tune']:.0f} s",
            f"{100 * run['variants']['dense']['accuracy']:.2f} %",
            f"{lost(run):+.2f}",
            f"{run['variants']['pruned']['macs'] / run['variants']['dense']['macs']:.2f}",
            f"{run['variants']['pruned']['ratio_to_baseline']:.2f}",
        ]
        for run in runs
    ]
    titles = ["seed", "training", "fine-tuning", "dense", "points lost", "MACs", "latency"]
    yield (
        "Against the goals (training ≤ 240 s, dense ≥ 92.5 %, lost ≤ 0.7, MACs ≤ 0.50, "
        "latency ≤ 0.70):"
    )
    yield table(titles, rows)
    yield f"Measured on: {machine(runs[0])}."


def equality() -> Iterator[str]:
    """Every model and pass against torch."""
    runs = Records("equality").read()
    yield "## Compiled equals torch\n\n`python -m benchmarks.equality`"
    yield (
        "Every model of the zoo after every pass, on 1,000 test images of Fashion-MNIST scaled to "
        "the model's input: largest absolute difference of any output (goal ≤ 1e-4), and images "
        "with the same label (goal: all)."
    )
    rows = [
        [
            run["model"],
            run["passes"] or "none",
            f"{run['max_difference']:.1e}",
            f"{run['same_label']} of {run['samples']}",
        ]
        for run in runs
    ]
    yield table(["model", "pass", "largest difference", "same label"], rows)


def choice() -> Iterator[str]:
    """What the recipe was chosen among."""
    runs = Records("choose_recipe").read()
    yield "## How the recipe was chosen\n\n`python -m benchmarks.choose_recipe`"
    yield (
        "On 5,000 training images held out for it, with a seed that no other experiment uses. "
        "Pruned variants are fine-tuned from the best training; of those that lose at most 0.5 "
        "points and have at most half of the MACs, the fastest was taken."
    )
    rows = [
        [str(run["options"]).strip("{}").replace("'", ""), validation_accuracy(run)]
        for run in runs
        if run["step"] == "train"
    ]
    yield table(["training", "accuracy"], rows)
    rows = [
        [
            f"`{run['passes']}`",
            validation_accuracy(run),
            f"{run['macs']:.2f}",
            f"{run['latency']:.2f}",
        ]
        for run in runs
        if run["step"] == "prune"
    ]
    yield table(["pruned by", "accuracy", "MACs of dense", "latency of dense"], rows)


def validation_accuracy(run: dict[str, Any]) -> str:
    """Return the accuracy on the images held out."""
    return f"{100 * run['validation_accuracy']:.2f} %"


def peers() -> Iterator[str]:
    """The zoo against other runtimes."""
    runs = Records("peers").read()
    yield "## Beside the peers\n\n`python -m benchmarks.peers`"
    yield (
        "Batch 1, float32 unless the name says otherwise; each line is a process of its own that "
        "begins with an empty kernel database; all runtimes alternate in it, with equal threads. "
        "Median latency in milliseconds, and in brackets hwopt's ratio to it; below 1 hwopt is "
        "faster."
    )
    groups = {(run["used_threads"], run["held_to"]) for run in runs}
    for threads, held in sorted(groups, key=str, reverse=True):
        chosen = [run for run in runs if (run["used_threads"], run["held_to"]) == (threads, held)]
        names = list(dict.fromkeys(name for run in chosen for name in run["ratios"]))
        rows = []
        for run in chosen:
            cells = [
                f"{run['latencies'][name]['median_ms']:.3f} ({run['ratios'][name]:.2f})"
                if name in run["ratios"]
                else "–"
                for name in names
            ]
            ours = f"{run['latencies']['hwopt']['median_ms']:.3f}"
            rows.append([f"{run['net']} #{run['run']}", ours, *cells])
        plural = "thread" if threads == 1 else "threads"
        yield f"**{threads} {plural}{f', held to {held}' if held else ''}**"
        yield table(["net", "hwopt", *names], rows)
        middle = statistics.geometric_mean(
            statistics.median(run["ratio_to_fastest"] for run in chosen if run["net"] == net)
            for net in {run["net"] for run in chosen}
        )
        count = len({run["net"] for run in chosen})
        yield f"Geometric mean over {count} nets, to the fastest float32 peer: **{middle:.2f}**"
    yield "What compiling took, and what the first choice without any measurement loses:"
    rows = [
        [
            f"{run['net']}, {run['used_threads']} threads, {run['held_to'] or 'all'} #{run['run']}",
            f"{run['seconds_to_compile']['hwopt']:.0f} s",
            f"{run['seconds_to_compile']['hwopt again']:.1f} s",
            str(run["measured_again"]),
            f"{run['untuned_to_tuned']:.2f}",
            f"{max(run['max_difference'][name] for name in run['ratios'] if float32(name)):.0e}",
        ]
        for run in runs
    ]
    titles = ["net", "from an empty database", "from a full one", "measured then"]
    yield table([*titles, "untuned to tuned", "largest difference to a float32 peer"], rows)
    yield f"Measured on: {machine(runs[0])}; {commits(runs)}."


def idle_threads() -> Iterator[str]:
    """How long threads stay awake."""
    yield "## Threads that stay awake\n\n`python -m benchmarks.idle_threads`"
    yield (
        "Milliseconds after the last call of ResNet-8 until a runtime's threads no longer use a "
        "processor (steps of 2 ms, at most 100; median of three processes). Measurements of "
        "hwopt wait for this before each turn."
    )
    rows = [[run["runtime"], f"{run['awake_ms']:.0f}"] for run in Records("idle_threads").read()]
    yield table(["runtime", "ms"], rows)


def variation() -> Iterator[str]:
    """How far tuning runs differ."""
    yield "## Five tuning runs\n\n`python -m benchmarks.variation`"
    yield (
        "Each from an empty database; the five artefacts alternate in one process. Medians in "
        "milliseconds, and how far the slowest is above the fastest."
    )
    rows = [
        [run["net"], *(f"{median:.3f}" for median in run["median_ms"]), f"{run['spread']:.1%}"]
        for run in Records("variation").read()
    ]
    yield table(["net", "1", "2", "3", "4", "5", "spread"], rows)


def memory() -> Iterator[str]:
    """Peak memory while running."""
    runs = Records("memory").read()
    yield "## Memory while running\n\n`python -m benchmarks.memory`"
    yield (
        "Peak resident memory of a Python process that loads the compiled net and calls it fifty "
        "times, 2 threads; median of three processes."
    )
    rows = [
        [
            run["net"],
            f"{run['hwopt_mib']:.0f}",
            f"{run['onnxruntime_mib']:.0f}",
            f"{run['ratio']:.2f}",
        ]
        for run in runs
    ]
    yield table(["net", "hwopt MiB", "ONNX Runtime MiB", "ratio"], rows)
    yield f"Measured on: {machine(runs[0])}; {commits(runs)}."


def kills() -> Iterator[str]:
    """Killed and resumed."""
    yield "## Killed ten times\n\n`python -m benchmarks.kill_resume`"
    for run in Records("kill_resume").read():
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


def cost() -> Iterator[str]:
    """Time and memory of the demo."""
    yield "## What the demo costs\n\n`python -m benchmarks.demo_cost`"
    for run in Records("demo_cost").read():
        yield (
            f"`hwopt optimize recipes/demo.yaml` with an empty kernel database: "
            f"{run['first_seconds'] / 60:.1f} minutes; again: {run['again_seconds']:.1f} s; peak "
            f"memory of the largest process {run['peak_mib']:,} MiB. `hwopt --help`: "
            f"{run['help_seconds']:.2f} s (median of 11). Measured on: {machine(run)}. The virtual "
            "environment of `make demo` comes on top, once."
        )


_SECTIONS = {
    "main_job": main_job,
    "choose_recipe": choice,
    "peers": peers,
    "variation": variation,
    "idle_threads": idle_threads,
    "memory": memory,
    "equality": equality,
    "kill_resume": kills,
    "demo_cost": cost,
}


def main() -> None:
    parts = [
        "# Results\n\nWritten by `python -m benchmarks.results_page` from `benchmarks/results`."
    ]
    for name, section in _SECTIONS.items():
        if Records(name).read():
            parts += section()
        else:
            parts.append(f"Not measured yet: `python -m benchmarks.{name}`.")
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
