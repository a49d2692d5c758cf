"""Rooms import from floors below, files not in circles; the floors are the documentation's."""

import ast
import re
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hwopt"


def floors():
    """Return the floor of every room, a folder or a file, from the table of the documentation."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([^|]*) \|", text, re.MULTILINE)
    return {
        ROOT / place.rstrip("/"): int(floor)
        for floor, places in rows
        for place in re.findall(r"`([^`]*)`", places)
    }


def modules():
    """Return the file of every module of the package, by its dotted name."""
    files = {}
    for file in PACKAGE.rglob("*.py"):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        files[name.removesuffix(".__init__")] = file
    return files


def executed(tree):
    """Yield all nodes of a file but those for type checking only."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            child = ast.Module(child.orelse, [])
        yield child
        yield from executed(child)


def imports(file, known):
    """Yield the modules of the package that a file imports, inside of functions, too."""
    for node in executed(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


@pytest.fixture(scope="module")
def arrows():
    """Return which module imports which."""
    known = modules()
    found = networkx.DiGraph()
    for name, file in known.items():
        found.add_edges_from((name, other) for other in imports(file, known) if other != name)
    return found


def room_of(file, rooms):
    """Return the innermost room that a file is in."""
    return next((place for place in (file, *file.parents) if place in rooms), None)


def test_every_file_has_a_floor():
    rooms = floors()
    assert all(place.exists() for place in rooms)
    assert [file for file in modules().values() if room_of(file, rooms) is None] == []


def test_no_import_runs_upwards(arrows):
    rooms, files = floors(), modules()
    upwards = []
    for name, other in arrows.edges:
        here, there = room_of(files[name], rooms), room_of(files[other], rooms)
        if here != there and rooms[there] >= rooms[here]:
            upwards.append(f"{name} -> {other}")
    assert upwards == []


def test_no_files_import_each_other_in_a_circle(arrows):
    circles = networkx.strongly_connected_components(arrows)
    assert [sorted(circle) for circle in circles if len(circle) > 1] == []
