"""`hwopt search`, `pick` and `report` as a user meets them."""

import json
import shlex
import shutil

import pytest
import yaml

from hwopt.search.files import STUDY_FILE
from tests.cli.command import hwopt, refused
from tests.search import small
from tests.search.studies import RECIPE, changed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a recipe, and the study that was made of it."""
    found = tmp_path_factory.mktemp("search")
    shutil.copyfile(small.__file__, found / "small_net.py")
    # Trainings have a thread each, and the network that they begin with had two.
    recipe = {**changed(workers=2), "model": "small_net:network", "threads": 2}
    (found / "small.yaml").write_text(yaml.safe_dump(recipe))
    result = hwopt("search", "small.yaml", "--trials", 2, folder=found)
    assert result.returncode == 0, result.stderr
    assert "training 0, 1" in result.stderr and "measuring 0, 1" in result.stderr
    assert "the front of 2 candidates" in result.stdout
    return found


@pytest.mark.slow
def test_a_search_leaves_a_study_a_page_and_models(folder):
    study = folder / "runs" / "small"
    assert (study / "report.html").stat().st_size > 10_000
    document = json.loads((study / STUDY_FILE).read_text())
    assert len(document["trials"]) == 2
    picked = hwopt("pick", study, "--quality", 0, "--output", folder / "fast", "--json")
    trial = json.loads(picked.stdout)
    assert trial["number"] == document["on_front"][0]
    assert hwopt("bench", folder / "fast", "--runs", 20).returncode == 0
    shown = hwopt("pick", study, "--latency", "1000ms").stdout
    assert f"again: {document['trials'][document['on_front'][-1]]['command']}" in shown


@pytest.mark.slow
def test_the_report_again(folder):
    study = folder / "runs" / "small"
    (study / "report.html").unlink()
    result = hwopt("report", study)
    assert result.returncode == 0 and "the front of 2 candidates" in result.stdout
    assert (study / "report.html").exists()
    assert "| baseline |" in hwopt("report", study, "--markdown").stdout


@pytest.mark.slow
def test_a_candidate_again_by_the_printed_command(folder):
    document = json.loads((folder / "runs" / "small" / STUDY_FILE).read_text())
    trial = document["trials"][document["on_front"][0]]
    program, *words = shlex.split(trial["command"])
    assert program == "hwopt"
    found = json.loads(hwopt(*words, "--json", folder=folder).stdout)
    assert found["macs"] == trial["macs"]
    assert found["quality"] == trial["quality"]


@pytest.mark.slow
def test_what_cannot_begin_leaves_what_is_there(folder):
    before = (folder / "runs" / "small" / STUDY_FILE).read_text()
    fresh = ("search", "small.yaml", "--fresh")
    assert "did you mean 'host'" in refused(*fresh, "--target", "hots", folder=folder)
    assert "no Ray cluster" in refused(*fresh, "--ray", "127.0.0.1:9", folder=folder)
    assert (folder / "runs" / "small" / STUDY_FILE).read_text() == before


@pytest.mark.slow
def test_fresh_begins_anew(folder):
    result = hwopt("search", "small.yaml", "--trials", 1, "--fresh", folder=folder)
    assert result.returncode == 0, result.stderr
    document = json.loads((folder / "runs" / "small" / STUDY_FILE).read_text())
    assert len(document["trials"]) == 1


def test_what_cannot_be_is_one_sentence(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "search": {"sampler": "best"}}))
    assert "search.sampler: unknown sampler 'best'" in refused("search", path)
    assert "it is for `hwopt search`" in refused("optimize", path)
    path.write_text(yaml.safe_dump(RECIPE))
    sentence = refused("search", path, "--evaluate", "prune-channels", "--sampler", "tpe")
    assert "--sampler is of a search, not of --evaluate" in sentence
    path.write_text(yaml.safe_dump(changed(warm_start=["nowhere"])))
    assert "nowhere holds no study" in refused("search", path)
    assert "holds no study" in refused("pick", tmp_path, "--quality", 0.5)
    assert "give one of --latency, --quality and --no-worse" in refused("pick", tmp_path)
    assert "holds no finished job and no study" in refused("report", tmp_path)
    result = hwopt("pick", tmp_path, "--latency", "fast")
    assert result.returncode == 2 and "is no time: write it as 0.2ms" in result.stderr
