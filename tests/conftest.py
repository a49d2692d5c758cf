"""Shared fixtures: golden texts, and a kernel database that is not the user's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import hypothesis
import pytest

# A busy machine makes no test wrong; a time limit for each test as a whole is in pyproject.toml.
hypothesis.settings.register_profile("hwopt", deadline=None)
hypothesis.settings.load_profile("hwopt")

GOLDEN = Path(__file__).parent / "golden"
PLUGIN = Path(__file__).parent / "plugin"


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden texts")


def pytest_collection_modifyitems(items):
    """Run the files with most slow tests first: two processes share them, and both should end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session", autouse=True)
def _home_of_its_own(tmp_path_factory):
    """Tests, and the processes they start, neither read nor change what the user has tuned.

    Tests that run side by side share what they have compiled: kernels are known by their content.
    """
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWOPT_HOME", str(session / "home"))
        yield


@pytest.fixture
def installed_plugin(tmp_path, monkeypatch):
    """The example package, installed by pip into a folder of its own."""
    source = tmp_path / "source"
    subprocess.run(["cp", "-r", PLUGIN, source], check=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*command, "--target", tmp_path / "site", source], check=True)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield tmp_path / "site"
    for name in [name for name in sys.modules if name.startswith("hwopt_plugin_example")]:
        del sys.modules[name]


@pytest.fixture
def golden(request):
    """Compare a text with the golden file of that name."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_text(text)
        assert path.exists(), f"no golden file {name}: run pytest --update-golden"
        assert text == path.read_text()

    return check
