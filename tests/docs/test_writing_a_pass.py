"""The code of the page runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-pass.md"


def test_the_code_of_the_page_runs(tmp_path):
    plugin, *parts = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "cheap_activations.py").write_text(plugin)
    (tmp_path / "script.py").write_text("\n".join(parts))
    result = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "ms" in result.stdout
    command = [sys.executable, "-m", "hwopt.cli.main", "passes", "show", "cheap-activations"]
    result = subprocess.run(
        [*command, "--plugin", "cheap_activations.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "keep_last=true" in result.stdout
