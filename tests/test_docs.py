"""What the documentation shows runs as it stands: Python in the test, shell blocks by a shell.

A comment on the line before a block says what is special about it:

* ``<!-- file: NAME -->``: it is the content of a file;
* ``<!-- before: CODE -->``: Python that the reader has written before, such as imports;
* ``<!-- not run: REASON -->``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import hwopt
from hwopt import models
from hwopt.targets import tuner

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- (?P<marker>[a-z ]+): (?P<told>.*?) ?-->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
NETWORKS = """
from torch import nn

def make_net():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Hardswish(), nn.Conv2d(8, 8, 3), nn.SiLU())
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A small artefact, which readers have as ``my.artifact``."""
    model, folder = models.create("resnet8", width=4), tmp_path_factory.mktemp("docs") / "artifact"
    hwopt.compile(model, torch.zeros(1, 3, 32, 32), kernel_trials=0, output=folder)
    return folder


@dataclass(frozen=True)
class Block:
    """A block of a page."""

    page: Path
    line: int
    language: str
    code: str
    marker: str
    told: str


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of a page in some languages, and all that are files."""
    text = page.read_text()
    found = [
        Block(
            page,
            text[: match.start("code")].count("\n"),
            match["language"],
            match["code"],
            match["marker"] or "",
            match["told"] or "",
        )
        for match in BLOCK.finditer(text)
    ]
    return [one for one in found if one.language in languages or one.marker == "file"]


def runs(page: Path, language: str) -> bool:
    """Whether a page has a block in a language that is run."""
    kept = ("not run", "file")
    return any(one.marker not in kept for one in blocks(page, language))


def write(block: Block) -> None:
    Path(block.told).write_text(block.code)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if runs(page, "python")], ids=lambda page: page.name
)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Of every kernel a few candidates: it takes seconds, and nothing depends on which is chosen.
    monkeypatch.setattr(tuner, "TEMPLATE_TRIALS", 1)
    monkeypatch.setattr(tuner, "SEARCH_TRIALS", 0)
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        if block.marker == "file":
            write(block)
            continue
        if block.marker == "not run":
            continue
        if block.marker == "before":
            exec(block.told, names)
        # So that a traceback names the line of the page.
        exec(compile("\n" * block.line + block.code, str(page), "exec"), names)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if runs(page, "sh")], ids=lambda page: page.name
)
def test_the_shell_commands_of_a_page_run(page, compiled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_package").mkdir()
    Path("my_package", "my_module.py").write_text(NETWORKS)
    Path("my.artifact").symlink_to(compiled)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    for block in blocks(page, "sh"):
        if block.marker == "file":
            write(block)
        elif block.marker != "not run":
            result = subprocess.run(
                ["sh", "-e", "-c", block.code], env=environment, capture_output=True, text=True
            )
            assert result.returncode == 0, f"{page}:{block.line}: {result.stderr}"


def test_every_shell_block_that_is_not_run_says_why():
    for page in PAGES:
        for block in blocks(page, "sh", "python"):
            assert block.marker in ("", "file", "before", "not run"), (page, block.line)
            assert block.marker != "not run" or block.told, (page, block.line)
