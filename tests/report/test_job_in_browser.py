"""The page of a job in a browser: on a desk, on a phone, light and dark."""

from __future__ import annotations

import pytest
import yaml
from selenium.webdriver.common.action_chains import ActionChains

from hwopt.job import JobResults, make_recipe
from hwopt.job.facts import Difference, Earlier, StepFacts
from hwopt.report import write_report
from tests.report.browser import needs_browser
from tests.report.test_report import variant

pytestmark = needs_browser

RECIPE = {"model": "resnet8", "data": "digits", "variants": {"dense": "", "half": "prune-channels"}}


@pytest.fixture(scope="module")
def results():
    names = {"dense": variant(0.2, 0.93) | {"passes": ""}, "half": variant(0.1, 0.928)}
    names["half"]["steps"] = [
        StepFacts(step="passes", quality=0.2, macs=1, kept_bytes=50_000, is_final=True),
        StepFacts(step="fine-tune", macs=1, kept_bytes=50_000, is_final=True),
    ]
    names["half"] |= {"kept_bytes": 50_000, "low": 0.91, "high": 0.94}
    names["half"]["differences"] = [Difference(sample=7, before="3", after="<5>", truth="3")]
    figures = {"name": "accuracy", "higher_is_better": True, "is_share": True, "ideal": 1.0}
    return JobResults(
        hwopt="0.1.0",
        recipe=make_recipe(RECIPE).model_dump(mode="json"),
        target={"name": "host", "cpu": "a CPU", "isa": "avx2"},
        threads=2,
        data="digits",
        metric=figures,
        baseline="dense",
        variants=names,
        earlier=Earlier(
            recipe={**RECIPE, "seed": 4},
            metric={**figures, "name": "share"},
            variants={"dense": (0.93, 0.2), "half": (0.9, 0.12)},
        ),
    )


@pytest.fixture(scope="module")
def job_page(results, tmp_path_factory):
    return write_report(results, tmp_path_factory.mktemp("job"))


@pytest.mark.parametrize("width", [1200, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_renders_and_can_be_read(browser, job_page, width, scheme):
    browser.open(job_page, width, scheme)
    assert len(browser.all("#variants .mark")) == 4 and len(browser.all("#kernels .mark")) == 2
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.complaints() == [] and browser.requests() == [job_page.as_uri()]
    low = {text: ratio for text, ratio in browser.contrasts().items() if ratio < 4.5}
    assert low == {}


def test_the_answer_is_in_the_first_screen_and_no_column_is_cut_off(browser, job_page):
    browser.open(job_page, 1200)
    tiles = " ".join(browser.one(".tiles").text.split())
    assert "best 0.100 ms" in tiles and "beside the baseline 0.50" in tiles
    assert "beside onnxruntime 0.33" in tiles and "92.80 %" in tiles and "49 KB" in tiles
    assert browser.one(".tiles").rect["y"] + browser.one(".tiles").rect["height"] < 800
    box = "document.querySelector('#table').parentElement"
    inside = f"return {box}.scrollWidth <= {box}.clientWidth"
    assert browser.run(inside)


def test_kernels_and_variants_tell_what_they_are(browser, job_page):
    browser.open(job_page)
    block = browser.one("#kernels .mark .dot")
    ActionChains(browser.driver).move_to_element(block).perform()
    text = " ".join(browser.one("#tooltip").text.split())
    assert text == "conv road search time 25.0 µs, 100 % of dense calls 2 speed 0.1 GMAC/s"
    ActionChains(browser.driver).move_to_element(browser.one("#variants .front .dot")).perform()
    text = " ".join(browser.one("#tooltip").text.split())
    assert text.startswith("half, hwopt accuracy 92.80 % (91.00–94.00) latency 0.100 ms")


def test_steps_differences_and_what_is_new(browser, job_page):
    browser.open(job_page)
    rows = [" ".join(row.text.split()) for row in browser.all("#steps tbody tr")]
    assert rows == [
        "dense 93.00 % 1.00 88 KB",
        "passes 20.00 % 0.50 49 KB",
        "fine-tune 92.80 % 0.50 49 KB",
    ]
    bars = [bar.get_attribute("class") for bar in browser.all("#steps tbody tr:nth-child(2) .bar")]
    assert bars == ["bar loss", "bar gain", "bar gain"]
    assert "<5>" in browser.one(".samples").text
    new = " ".join(browser.one("#changed").text.split())
    assert "recipe: seed 4 0" in new
    assert "half share 90.00 %, 0.120 ms accuracy 92.80 %, 0.100 ms" in new
    names = browser.run("return data.kernels.map(([name]) => name)")
    assert names == ["dense", "half"]


def test_the_recipe_runs_when_it_is_copied(browser, job_page, results):
    browser.open(job_page)
    text = browser.run("return document.getElementById('recipe').textContent")
    assert make_recipe(yaml.safe_load(text)).model_dump(mode="json") == results.recipe


def test_without_scripts_there_are_pictures(browser, job_page):
    browser.open(job_page, scripts=False)
    assert [image.is_displayed() for image in browser.all("noscript img")] == [True, True]
