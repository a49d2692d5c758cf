from __future__ import annotations

import itertools

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from hwopt.report import write_study_report
from hwopt.search.table import changes
from tests.report.browser import needs_browser
from tests.report.studies import NASTY

pytestmark = needs_browser

_ALONE = """
document.getElementById("front").scrollIntoView({block: "center"});
const marks = document.querySelectorAll("#front .mark.front[aria-pressed=false]");
return [...marks].filter((mark) => {
  const box = mark.querySelector(".dot").getBoundingClientRect();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  return mark.contains(document.elementFromPoint(x, y));
});
"""


def all_of(text):
    """Return a text as the browser gives it back: runs of spaces are one."""
    return " ".join(text.split())


def alone(browser):
    """Return the front's marks that nothing covers in their middle, but for the selected one."""
    return browser.run(_ALONE)


def measured(study):
    """Return the trials that are points."""
    return [t for t in study.trials if t.state == "measured"]


def trial_of(mark, study):
    return study.trials[int(mark.get_attribute("data-trial"))]


def assert_tells(browser, trial):
    """The tooltip is in sight, and says everything that is known of a trial."""
    tooltip = browser.one("#tooltip")
    assert tooltip.is_displayed()
    text = all_of(tooltip.text)
    latency = trial.latency
    assert f"Trial {trial.number}, on the front {changes(trial)}" in text
    assert f"accuracy {100 * trial.quality:.2f} %" in text
    span = f"({latency.low_ms:.3f}–{latency.high_ms:.3f})"
    assert f"latency {latency.median_ms:.3f} ms {span}" in text
    assert f"on test data {100 * trial.test_quality:.2f} %" in text
    if trial.ratio is not None:
        assert f"ratio to baseline {trial.ratio:.2f}" in text
    assert f"MACs {trial.macs / 1e6:.2f} M size {trial.bytes:,} bytes" in text
    box, width = tooltip.rect, browser.run("return document.documentElement.clientWidth")
    assert box["x"] >= 0 and box["x"] + box["width"] <= width


@pytest.mark.slow
@pytest.mark.parametrize("width", [1000, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_renders_without_a_complaint_or_a_request(browser, page, study, width, scheme):
    browser.open(page, width, scheme)
    drawn = [m.get_attribute("data-trial") for m in browser.all("#front .mark[data-trial]")]
    assert sorted(map(int, drawn)) == [trial.number for trial in measured(study)]
    assert len(browser.all("#front .peer")) == 3 and len(browser.all("#front .baseline")) == 1
    assert len(browser.all("#hypervolume .mark")) == len(study.hypervolume)
    assert len(browser.all("#time .mark")) == len(study.trials)
    assert len(browser.all("#time .cross")) == 4
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.driver.title == "resnet8 on host, a study – hwopt"
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]


def test_hovering_shows_the_tooltip(browser, page, study):
    browser.open(page)
    assert not browser.one("#tooltip").is_displayed()
    for mark in alone(browser):
        dot = mark.find_element("css selector", ".dot")
        ActionChains(browser.driver).move_to_element(dot).perform()
        assert_tells(browser, trial_of(mark, study))
    ActionChains(browser.driver).move_to_element(browser.one("h1")).perform()
    assert not browser.one("#tooltip").is_displayed()


def test_the_keyboard_goes_from_trial_to_trial(browser, page, study):
    browser.open(page)
    focused = "return document.activeElement.closest('#front .mark')"
    for _ in range(10):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        if browser.run(focused):
            break
    assert browser.run(focused).get_attribute("aria-pressed") == "true"
    ActionChains(browser.driver).send_keys(Keys.HOME).perform()
    first = browser.run(focused)
    fastest = study.trials[study.on_front[0]]
    assert trial_of(first, study) is fastest
    assert_tells(browser, fastest)
    assert f"Trial {fastest.number}" in first.get_attribute("aria-label")
    ActionChains(browser.driver).send_keys(Keys.ARROW_RIGHT, Keys.ENTER).perform()
    second = browser.run(focused)
    assert second != first and second.get_attribute("aria-pressed") == "true"
    ActionChains(browser.driver).send_keys(Keys.ESCAPE).perform()
    assert not browser.one("#tooltip").is_displayed()


def test_a_click_shows_the_kernels_of_a_trial(browser, page, study):
    browser.open(page)
    best = study.best
    assert browser.one("#trial-title").text == f"Trial {best.number}, on the front"
    mark = alone(browser)[0]
    trial = trial_of(mark, study)
    mark.find_element("css selector", ".dot").click()
    assert browser.one("#trial-title").text == f"Trial {trial.number}, on the front"
    assert trial.command in all_of(browser.one("#trial").text)
    browser.one("#trial summary").click()
    assert trial.notes[0] in all_of(browser.one("#trial").text)
    rows = [all_of(row.text) for row in browser.all("#kernels tbody tr")]
    total = sum(k.median_us * k.calls for k in trial.kernels if k.median_us)
    us = trial.kernels[0].median_us * 2
    assert rows[0] == f"fused_conv2d_add_relu search 2 {us:.1f} {round(100 * us / total)} %"
    assert rows[3] == f"{NASTY} search 2 – –"
    browser.one("#time .mark[data-trial='28']").click()
    assert "repeats trial 0" in all_of(browser.one("#trial").text)
    browser.one(f"#front-table a[data-trial='{best.number}']").click()
    assert browser.one("#trial-title").text == f"Trial {best.number}, on the front"


def test_a_tap_on_a_phone_shows_the_tooltip(browser, page, study):
    browser.open(page, width=360)
    mark = alone(browser)[-1]
    browser.tap(mark.find_element("css selector", ".dot"))
    assert_tells(browser, trial_of(mark, study))
    assert browser.run("return document.documentElement.scrollWidth") <= 360


def test_less_accurate_trials_can_be_left_out(browser, page, study):
    browser.open(page)
    browser.one("#range option[value='2']").click()
    every = measured(study)
    near = [t for t in every if t.quality >= study.baseline.quality - 0.02]
    assert 0 < len(near) < len(every)
    assert len(browser.all("#front .mark[data-trial]")) == len(near)
    below = f"{len(every) - len(near)} of {len(every)} measured trials are worse"
    assert below in browser.one("#front-note").text


@pytest.mark.slow
@pytest.mark.parametrize("width", [1000, 360])
def test_the_time_line_has_trials_side_by_side(browser, page, study, width):
    browser.open(page, width)
    lanes = {}
    for mark in browser.all("#time .mark"):
        stages = mark.find_elements("css selector", "rect.stage")
        seconds = study.trials[int(mark.get_attribute("data-trial"))].seconds
        kinds = [stage.get_attribute("class").split()[-1] for stage in stages]
        assert kinds == list(seconds)
        bar = [float(stage.get_attribute("x")) for stage in stages]
        ends = [x + float(s.get_attribute("width")) for x, s in zip(bar, stages, strict=True)]
        assert ends[:-1] == pytest.approx(bar[1:])
        if stages:
            lanes.setdefault(stages[0].get_attribute("y"), []).append((bar[0], ends[-1]))
    assert len(lanes) == 2
    for spans in lanes.values():
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(sorted(spans)))


def test_both_schemes_can_be_read(browser, page):
    backgrounds = set()
    for scheme in ("light", "dark"):
        browser.open(page, scheme=scheme)
        browser.run("document.querySelector('#front .mark.front').focus()")
        browser.one("summary").click()
        contrasts = browser.contrasts()
        assert {"Failures", "latency in ms", "baseline", "ratio to baseline"} <= contrasts.keys()
        assert {text: ratio for text, ratio in contrasts.items() if ratio < 4.5} == {}
        backgrounds.add(browser.one("body").value_of_css_property("background-color"))
    assert len(backgrounds) == 2


def test_without_scripts_there_are_the_picture_and_the_table(browser, page, study):
    browser.open(page, scripts=False)
    image = browser.one("noscript img")
    assert image.is_displayed() and image.size["width"] > 500
    rows = browser.all("#front-table tbody tr")
    assert [row.text.split()[0] for row in rows] == [str(number) for number in study.on_front]
    assert not browser.one("#trial-title").is_displayed()


@pytest.mark.parametrize("left", [0, 4])
def test_a_study_that_has_just_begun(browser, study, tmp_path, left):
    failed = study.trials[3]
    trials = tuple(failed.model_copy(update={"number": number}) for number in range(left))
    nothing = dict.fromkeys(("on_front", "hypervolume", "contributions", "peers", "notes"), ())
    empty = study.model_copy(update={"trials": trials, **nothing})
    browser.open(write_study_report(empty, tmp_path))
    assert browser.one("#trial").text == "No trial has been measured yet."
    assert len(browser.all("#front .mark")) == 1 and len(browser.all("#time .cross")) == left
    assert browser.complaints() == []
