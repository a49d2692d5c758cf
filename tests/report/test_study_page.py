from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from hwopt.errors import HwoptError
from hwopt.files import write_json
from hwopt.report import study_view
from hwopt.search.files import STUDY_FILE
from hwopt.search.results import StudyResults
from tests.report.studies import NASTY


class Page(HTMLParser):
    """The elements of a page: tag, attributes and text, whatever is nested in it included."""

    def __init__(self, text):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])
        if tag not in ("meta", "img"):
            self._open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        for element in self._open:
            element[2] += data

    def texts(self, tag):
        return [text.strip() for name, _, text in self.elements if name == tag]


def test_the_page_is_one_file_beside_its_pictures(page):
    names = {path.name for path in page.parent.iterdir()}
    assert names == {"report.html", "front.png", "hypervolume.png"}
    for tag, attributes, _ in Page(page.read_text()).elements:
        assert tag not in ("link", "iframe", "object", "base")
        address = attributes.get("src") or attributes.get("href") or "#"
        assert address.startswith(("data:image/png;base64,", "#"))


def test_names_from_users_stay_texts(page, study):
    parsed = Page(page.read_text())
    # None of ours is broken up by the nasty name, and it adds none.
    assert len(parsed.texts("script")) == 3
    assert parsed.texts("title") == ["resnet8 on host, a study – hwopt"]
    data = json.loads(parsed.texts("script")[0])
    assert [trial["number"] for trial in data["trials"]] == list(range(30))
    kernels = {kernel["name"] for t in data["trials"] for kernel in t["kernels"] or []}
    assert NASTY in kernels and NASTY in parsed.texts("code")
    assert "the kernels of <b>an earlier study</b> were used" in parsed.texts("p")


def test_the_front_has_a_row_a_trial_with_its_command(page, study):
    parsed = Page(page.read_text())
    links = [a["data-trial"] for tag, a, _ in parsed.elements if tag == "a"]
    assert links == [str(number) for number in study.on_front]
    for number in study.on_front:
        assert study.trials[number].command in parsed.texts("code")


def test_failures_are_counted_and_have_their_reasons(page, study):
    failed = [trial for trial in study.trials if trial.state == "failed"]
    parsed = Page(page.read_text())
    assert f"failed, not drawn ({len(failed)})" in parsed.texts("li")
    for trial in failed:
        assert trial.reason in parsed.texts("td")
    assert (
        f"{len(failed)} failed, 2 stopped early, 1 running, 1 repeated an earlier one"
        in " ".join(parsed.texts("dd"))
    )


def test_the_pictures_show_the_front_and_the_baseline(page):
    blue, amber = (0x25, 0x63, 0xEB), (0xD9, 0x77, 0x06)
    for name, colours in {"front.png": (blue, amber), "hypervolume.png": (blue,)}.items():
        with Image.open(page.parent / name) as image:
            assert image.format == "PNG" and image.width >= 900
            pixels = np.asarray(image.convert("RGB"))
        for colour in colours:
            assert (pixels == colour).all(axis=-1).sum() > 100, f"{colour} in {name}"


def test_the_best_trial_is_the_fastest_about_as_accurate_as_the_baseline(study):
    front = study.front
    limit = study.baseline.quality - 0.005
    best = study.best
    assert best.quality >= limit
    faster = [t for t in front if t.latency.median_ms < best.latency.median_ms]
    assert faster and all(trial.quality < limit for trial in faster)
    better = study.baseline.model_copy(update={"quality": 0.99})
    study = study.model_copy(update={"baseline": better})
    assert study.best is front[-1]


def test_a_peer_is_compared_with_the_fastest_trial_as_accurate(study):
    rows = {row["name"]: row for row in study_view.peers(study)}
    peer = study.peers[0]
    beside = next(t for t in study.front if t.quality >= peer.quality)
    ratio = beside.latency.median_ms / peer.latency.median_ms
    assert rows["onnxruntime-int8"]["beside"] == f"trial {beside.number}: {ratio:.2f}"
    assert rows["untrained <peer>"]["beside"] == "–"
    assert rows["untrained <peer>"]["ratio"] == f"{0.3 / 0.21:.2f}"


def test_what_is_no_number_is_unknown(study):
    assert study.trials[3].state == "failed" and study.trials[3].quality is None


def test_a_study_is_read_as_it_was_written(study, tmp_path):
    study.write(tmp_path / STUDY_FILE)
    assert StudyResults.of(tmp_path).to_json() == study.to_json()
    assert study.table().count("\n") == len(study.front) + 3
    with pytest.raises(HwoptError, match="trial 3 has no artefact: compiled are 0, 1"):
        study.artifact(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "is of schema version 2, and this hwopt reads version 4"),
        ({"trials": [{"number": 0}]}, "is damaged: trials.0.state: Field required"),
        ({"more": 1}, "is damaged: more: Extra inputs"),
    ],
)
def test_another_version_and_damage_are_one_sentence(study, tmp_path, change, message):
    write_json(tmp_path / STUDY_FILE, {**study.to_json(), **change})
    with pytest.raises(HwoptError, match=f"{message}.*: run `hwopt search` again"):
        StudyResults.of(tmp_path)
