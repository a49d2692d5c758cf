"""A study as `study.json` holds it, from random numbers: what its page is tested with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from hwopt.search.results import StudyResults

#: A name that ends the script and the element around it, if a page forgets to escape.
NASTY = "a<b & \"c\" 'd' </script><script>document.title = 'escaped'</script>"
_START = datetime(2026, 1, 1, 22, 0, tzinfo=UTC)
_KERNELS = ("fused_conv2d_add_relu", "fused_conv2d_add_add_relu", "fused_dense_add", NASTY)


def make_study(trials: int = 30, seed: int = 0) -> StudyResults:
    """Every seventh fails, two stop early; the last but one repeats the first, the last runs."""
    random = np.random.default_rng(seed)
    made = [_trial(number, random) for number in range(trials - 1)]
    repeated = made[0] | {"number": trials - 2, "state": "repeated", "repeats": 0}
    repeated["seconds"] = {"passes": 0.1}
    made[-1] = repeated | {"started": made[-1]["started"], "command": None}
    made.append({"number": trials - 1, "state": "running", "passes": "binarize", "choices": {}})
    made[-1]["started"] = _time(12.0 * trials)
    measured = [t for t in made if t["state"] == "measured"]
    front = _front(measured)
    for number in front:
        made[number]["test_quality"] = made[number]["quality"] - 0.002
    return StudyResults.model_validate(
        {
            "hwopt": "0.1.0",
            "name": "resnet8",
            "recipe": {
                "model": "resnet8",
                "note": NASTY,
                "seed": seed,
                "search": {"trials": trials, "sampler": "guided"},
            },
            "space": {"prune-channels.stem": [1.0, 0.5]},
            "target": {"name": "host", "cpu": "a CPU with <2 cores>", "isa": "avx2"},
            "threads": 2,
            "data": "fashion-mnist",
            "metric": {
                "name": "accuracy",
                "higher_is_better": True,
                "is_share": True,
                "ideal": 1.0,
            },
            "notes": ["the kernels of <b>an earlier study</b> were used"],
            "baseline": {
                "quality": 0.931,
                "latency": _latency(0.21),
                "macs": 12_501_632,
                "bytes": 327_112,
                "parameters": 78_042,
            },
            "trials": made,
            "on_front": front,
            "hypervolume": _hypervolume(measured),
            "contributions": [
                {
                    "name": "prune-channels",
                    "trials": 17,
                    "latency_ratio": 0.55,
                    "gain": -0.008,
                },
                {"name": "binarize", "trials": 6, "latency_ratio": 0.81, "gain": -0.021},
                {
                    "name": "share-codebook",
                    "trials": 5,
                    "latency_ratio": 1.04,
                    "gain": 0.001,
                },
                {"name": NASTY, "trials": 1, "latency_ratio": None, "gain": None},
            ],
            "peers": [
                {"name": "onnxruntime-int8", "quality": 0.9268, "latency": _latency(0.17)},
                {"name": "openvino-nncf-int8", "quality": 0.9282, "latency": _latency(0.13)},
                {
                    "name": "torch-pruning & onnxruntime",
                    "quality": 0.921,
                    "latency": _latency(0.19),
                },
                {"name": "untrained <peer>", "latency": _latency(0.3)},
            ],
        }
    )


def _trial(number: int, random: np.random.Generator) -> dict:
    kept = float(random.uniform(0.15, 1.0))
    binary = number % 5 == 4
    passes = f"prune-channels{{ratio={1 - kept:.2f},criterion=taylor}}" + ",binarize" * binary
    passes = passes if number else ""
    others = {"model": "width=8", "route": f"expert={NASTY}"} if number == 2 else {}
    stages = {"passes": 0.8, "train": 6 + 8 * kept, "measure": 4.5 + 2 * kept}
    trial = {
        "number": number,
        "state": "measured",
        "passes": passes,
        **others,
        "choices": {"ratio": 1 - kept, "binary": binary},
        "started": _time(12.0 * number),
        "seconds": stages,
    }
    if number % 7 == 3:
        trial |= {
            "state": "failed",
            "quality": float("nan"),
            "seconds": {"passes": 0.8, "train": 4.0},
        }
        return trial | {
            "reason": f"took over 60 s in {NASTY}" if number == 3 else "the loss was NaN"
        }
    if number in (8, 15):
        return trial | {
            "state": "stopped",
            "quality": 0.4,
            "seconds": {"passes": 0.8, "train": 2.0},
        }
    latency = 0.02 + 0.2 * kept * (0.8 if binary else 1) * float(random.uniform(0.9, 1.15))
    loss = 0.09 * (1 - kept) ** 3 + 0.02 * binary + float(random.uniform(0, 0.015))
    return trial | {
        "quality": 0.934 - loss,
        "latency": {"median_ms": latency, "low_ms": 0.98 * latency, "high_ms": 1.03 * latency},
        "ratio": latency / 0.21 if number != 1 else None,
        "macs": int(12_501_632 * kept**2),
        "bytes": int(327_112 * kept),
        "parameters": int(78_042 * kept),
        "kernels": _kernels(latency),
        "artifact": f"artifacts/{number:04}",
        "notes": [f"prune-channels: stem: {kept:.2f} stay", NASTY],
        "command": f"hwopt search recipe.yaml --trial {number} --passes '{passes}'",
    }


def _kernels(latency: float) -> list[dict]:
    shares = (0.3, 0.45, 0.15, None)
    return [
        {
            "name": name,
            "road": "search",
            "calls": 2,
            "median_us": share and 500 * latency * share,
            "candidates_measured": 3,
            "macs": 1000,
            "bytes": 1000,
        }
        for name, share in zip(_KERNELS, shares, strict=True)
    ]


def _latency(median: float) -> dict:
    return {"median_ms": median, "low_ms": 0.96 * median, "high_ms": 1.07 * median}


def _time(seconds: float) -> str:
    return (_START + timedelta(seconds=seconds)).isoformat()


def _front(measured: list[dict]) -> list[int]:
    numbers, highest = [], 0.0
    for trial in sorted(measured, key=lambda trial: trial["latency"]["median_ms"]):
        if trial["quality"] > highest:
            numbers.append(trial["number"])
            highest = trial["quality"]
    return numbers


def _hypervolume(measured: list[dict]) -> list[list[float]]:
    """Against a corner of 0.3 ms and an accuracy of 0.8."""
    values = []
    for count in range(1, len(measured) + 1):
        seen = {trial["number"]: trial for trial in measured[:count]}
        area, height = 0.0, 0.8
        for number in _front(measured[:count]):
            accuracy = seen[number]["quality"]
            area += max(0.0, accuracy - height) * (0.3 - seen[number]["latency"]["median_ms"])
            height = max(height, accuracy)
        values.append([count, area / (0.3 * 0.2)])
    return values
