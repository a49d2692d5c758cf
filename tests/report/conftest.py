from __future__ import annotations

import pytest

from hwopt.report import write_study_report
from tests.report.browser import open_browser
from tests.report.studies import make_study


@pytest.fixture(scope="session")
def study():
    return make_study()


@pytest.fixture(scope="session")
def page(study, tmp_path_factory):
    return write_study_report(study, tmp_path_factory.mktemp("study") / "new")


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened
