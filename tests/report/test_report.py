from __future__ import annotations

import re

import pytest

from hwopt.errors import HwoptError
from hwopt.files import RESULTS_FILE, write_json
from hwopt.job import JobResults
from hwopt.job.table import verdict
from hwopt.report import markdown_table, rich_table, write_report


def latency(median):
    return {
        "median_ms": median,
        "p10_ms": 0.9 * median,
        "p90_ms": 1.2 * median,
        "mean_ms": median,
        "runs": 100,
        "warmup": 10,
        "threads": 2,
    }


def variant(median, accuracy, timed=True):
    return {
        "passes": "prune-channels{ratio=0.5}",
        "notes": ["prune-channels: changed a<b: 8 to 4 channels"],
        "quality": accuracy,
        "test_samples": 360,
        "parameters": 1234,
        "macs": 5_000_000,
        "bytes": 99_999,
        "kept_bytes": 90_000,
        "memory_bytes": 5000,
        "compile_seconds": 3.0,
        "kernels": [
            {
                "name": "conv",
                "road": "search",
                "median_us": 12.5 if timed else None,
                "candidates_measured": 3,
                "calls": 2,
                "macs": 1000,
                "bytes": 1000,
            }
        ],
        "check": {"samples": 10, "max_difference": 1e-6, "same_answer": 10},
        "latency": latency(median),
        "ratio_to_baseline": median / 0.2,
        "peers": {"onnxruntime": {"latency": latency(0.3), "ratio": median / 0.3}},
    }


@pytest.fixture
def results():
    return JobResults.model_validate(
        {
            "hwopt": "0.1.0",
            "recipe": {"model": "resnet8"},
            "target": {"name": "host", "cpu": "a CPU", "isa": "avx2"},
            "threads": 2,
            "data": "digits",
            "metric": {
                "name": "accuracy",
                "higher_is_better": True,
                "is_share": True,
                "ideal": 1.0,
            },
            "baseline": "dense",
            "notes": ["digits were used"],
            "variants": {"dense": variant(0.2, 0.93), "half": variant(0.1, 0.92, timed=False)},
        }
    )


def changed(results, name, **changes):
    """Return results in which a variant has other figures."""
    variant = results.variants[name].model_copy(update=changes)
    return results.model_copy(update={"variants": {**results.variants, name: variant}})


def test_markdown(results):
    text = markdown_table(results)
    assert (
        "| half | 92.00 % | 0.100 (0.090–0.120) | 0.50 | 0.33 | 1,234 | 5.00 M | 99,999 |" in text
    )
    assert "2 threads, batch 1, 100 runs" in text


def test_a_peer_that_could_not_run_a_variant(results):
    results = changed(results, "dense", peers={})
    dense, half = markdown_table(results).splitlines()[2:4]
    assert "| 1.00 | – |" in dense and "| 0.50 | 0.33 |" in half


def test_terminal_table_has_the_same_columns(results):
    table = rich_table(results)
    assert len(table.columns) == 8 and table.row_count == 2


def test_what_was_left_out_of_the_difference_is_said(results, tmp_path):
    check = results.variants["dense"].check
    results = changed(results, "dense", check=check.model_copy(update={"turned": 3, "tied": 0}))
    results = changed(results, "half", check=check.model_copy(update={"tied": 2}))
    text = " ".join(write_report(results, tmp_path).read_text().split())
    assert text.count("Left out of the difference") == 2
    assert "3 in which rounding turned the sign" in text
    assert "2 whose score is the threshold of the router" in text


def test_the_page_is_one_file_without_external_links(results, tmp_path):
    page = write_report(results, tmp_path)
    text = page.read_text()
    assert not re.search(r"(src|href)=[\"'](?!data:)", text)
    assert text.count("data:image/png;base64,") == 2
    assert "a&lt;b" in text and "digits were used" in text
    for name in ("quality-latency.png", "kernels.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html",
        "quality-latency.png",
        "kernels.png",
    }


def test_results_are_read_as_they_were_written(results, tmp_path):
    results.write(tmp_path / RESULTS_FILE)
    read = JobResults.of(tmp_path)
    assert read.to_json() == results.to_json() and read.table() == markdown_table(results)
    assert read.best == "dense"
    assert changed(read, "half", quality=0.926).best == "half"
    sure = changed(read, "half", worse_by=0.008)
    for no_worse, best in ((0.01, "half"), (0.005, "dense")):
        recipe = {**read.recipe, "no_worse": no_worse}
        assert sure.model_copy(update={"recipe": recipe}).best == best
    for limits, best in (
        ({"ms": 0.25, "bytes": 100_000}, "half"),
        ({"ms": 0.09}, None),
        ({"memory_bytes": 4999}, None),
    ):
        limited = sure.model_copy(
            update={"recipe": {**read.recipe, "no_worse": 0.01, "limits": limits}}
        )
        assert limited.best == best
    assert limited.exceeded("half") == ["5,000 bytes of memory of 4,999"]
    assert verdict(limited).startswith(
        "no variant is within the limits and good enough: dense take"
    )
    worse = changed(limited, "half", quality=0.5, worse_by=0.5)
    assert "half takes 5,000 bytes of memory of 4,999 and is at 50.00 %, " in verdict(worse)
    with pytest.raises(HwoptError, match="there is no best variant to load: no variant is within"):
        limited.artifact(limited.best)
    with pytest.raises(HwoptError, match="unknown variant 'hlaf': did you mean 'half'"):
        read.artifact("hlaf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 1}, "is of schema version 1, and this hwopt reads version 4"),
        ({"threads": None}, "is damaged: threads: Input should be a valid integer"),
    ],
)
def test_another_version_and_damage_are_one_sentence(results, tmp_path, change, message):
    write_json(tmp_path / RESULTS_FILE, {**results.to_json(), **change})
    with pytest.raises(HwoptError, match=f"{message}.*: run `hwopt optimize` again"):
        JobResults.of(tmp_path)
