"""The examples of the documentation run as they stand, top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["training.md"])
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    text = (DOCS / page).read_text()
    examples = list(EXAMPLE.finditer(text))
    assert examples
    for example in examples:
        line = text[: example.start(1)].count("\n")
        exec(compile("\n" * line + example[1], str(DOCS / page), "exec"), names)
