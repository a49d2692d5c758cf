"""Files are whole or absent, readable as any other, and nothing else is lost."""

import os
import stat

import pytest

from hwopt.errors import HwoptError
from hwopt.files import atomic_file, atomic_folder

MARKER = "manifest.json"


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def permissions(path):
    return stat.S_IMODE(path.stat().st_mode)


def write_folder(path, content):
    with atomic_folder(path, MARKER) as temporary:
        (temporary / MARKER).write_text(content)


def test_new_files_and_folders_have_the_permissions_of_any_other(tmp_path, umask):
    with atomic_file(tmp_path / "file") as temporary:
        temporary.write_text("text")
    write_folder(tmp_path / "folder", "{}")
    assert permissions(tmp_path / "file") == 0o640
    assert permissions(tmp_path / "folder") == 0o750


def test_a_folder_with_the_marker_or_without_content_is_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    for content in ("first", "second"):
        write_folder(tmp_path / "a", content)
        assert (tmp_path / "a" / MARKER).read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_is_a_link_is_replaced_where_it_is(tmp_path):
    write_folder(tmp_path / "real", "first")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_folder(tmp_path / "link", "second")
    assert (tmp_path / "real" / MARKER).read_text() == "second"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("name", ["photos", "photos/holiday.png", "."])
def test_nothing_else_is_replaced(tmp_path, monkeypatch, name):
    photo = tmp_path / "photos" / "holiday.png"
    photo.parent.mkdir()
    photo.write_bytes(b"png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HwoptError, match=r"has no manifest\.json: it is not replaced"):
        write_folder(type(tmp_path)(name), "{}")
    assert photo.read_bytes() == b"png"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
