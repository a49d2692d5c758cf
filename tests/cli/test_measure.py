"""`hwopt targets measure` and `hwopt predict` as a user meets them."""

import json

import pytest

from tests.cli.command import hwopt, refused
from tests.kernels import EACH_WIDTH, HOST

NETWORK = ("tests.search.small:network", "--input-shape", "1x12x12")
MODEL = (*NETWORK, "--model-option", f"width={2 * HOST.float_lanes}")
HERE = ("--threads", 1)


@pytest.mark.slow
def test_a_table_is_made_shipped_and_asked(tmp_path, monkeypatch):
    target = EACH_WIDTH[0]
    # Two widths for each of two groups: widths are multiples of a vector.
    model = (*NETWORK, "--model-option", f"width={2 * target.float_lanes}")
    here = ("--target", target.name, "--threads", 1)
    monkeypatch.setenv("HWOPT_HOME", str(tmp_path / "first"))
    empty = f"the latency table of {target.name} is empty: see `hwopt targets measure --help`"
    assert refused("predict", *model, *here).endswith(empty)
    made = hwopt(
        *("targets", "measure", *model, *here, "--levels", 2, "--kernel-trials", 1),
        *("--output", tmp_path / "table.json"),
    )
    assert made.returncode == 0, made.stderr
    assert "3 of 3 networks" in made.stderr
    assert "4 networks, written to" in made.stdout

    # Another user's, on the same machine.
    monkeypatch.setenv("HWOPT_HOME", str(tmp_path / "second"))
    merged = hwopt("targets", "measure", "--merge", tmp_path / "table.json", *here, "--json")
    assert json.loads(merged.stdout)["networks"] == 4
    found = json.loads(hwopt("predict", *model, *here, "--json").stdout)
    assert 0 < found["low_ms"] < found["ms"] < found["high_ms"] and found["measured"] > 0.5
    shown = hwopt("predict", *model, *here, "--passes", "prune-channels{ratio=0.5,multiple=4}")
    assert "in kernels that were measured" in shown.stdout
    two_threads = ("--target", target.name, "--threads", 2)
    message = refused("targets", "measure", "--merge", tmp_path / "table.json", *two_threads)
    assert f"is the table of {target.name}" in message


def test_what_cannot_be_is_one_sentence(tmp_path):
    assert "prime number" in refused("targets", "measure", *MODEL, *HERE, "--levels", 6)
    message = refused("targets", "measure", *MODEL, "--target", "raspberry-pi-4")
    assert "nothing says how to reach raspberry-pi-4" in message
    assert "does not exist" in refused("targets", "measure", "--merge", tmp_path / "none.json")
