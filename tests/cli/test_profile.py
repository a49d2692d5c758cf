"""`hwopt profile` and `hwopt predict` as a user meets them."""

import json

import pytest

from tests.cli.command import hwopt, refused

MODEL = ("tests.study.small:network", "--input-shape", "1x12x12", "--model-option", "width=16")
HERE = ("--threads", 1)


@pytest.mark.slow
def test_a_table_is_made_shipped_and_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("HWOPT_HOME", str(tmp_path / "first"))
    message = refused("predict", *MODEL, *HERE)
    assert message.endswith("the latency table of host is empty: see `hwopt profile --help`")
    made = hwopt(
        *("profile", *MODEL, *HERE, "--levels", 2, "--trials", 2),
        *("--output", tmp_path / "table.json"),
    )
    assert made.returncode == 0, made.stderr
    assert "3 of 3 networks" in made.stderr
    assert "4 networks, written to" in made.stdout

    # Another user's, on the same machine.
    monkeypatch.setenv("HWOPT_HOME", str(tmp_path / "second"))
    merged = hwopt("profile", "--merge", tmp_path / "table.json", *HERE, "--json")
    assert json.loads(merged.stdout)["networks"] == 4
    found = json.loads(hwopt("predict", *MODEL, *HERE, "--json").stdout)
    assert 0 < found["low_ms"] < found["ms"] < found["high_ms"] and found["measured"] > 0.5
    shown = hwopt("predict", *MODEL, *HERE, "--passes", "prune-channels{ratio=0.5,multiple=4}")
    assert "in kernels that were measured" in shown.stdout
    assert "is the table of host" in refused("profile", "--merge", tmp_path / "table.json")


def test_what_cannot_be_is_one_sentence(tmp_path):
    assert "prime number" in refused("profile", *MODEL, *HERE, "--levels", 6)
    message = refused("profile", *MODEL, "--target", "raspberry-pi-4")
    assert "nothing says how to reach raspberry-pi-4" in message
    assert "does not exist" in refused("profile", "--merge", tmp_path / "none.json")
