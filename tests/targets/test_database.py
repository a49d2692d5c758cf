import dataclasses
import subprocess
import sys

import pytest
from tvm import te

from hwopt import targets
from hwopt.errors import HwoptError
from hwopt.targets import database
from hwopt.targets.database import RECORDS, KernelDatabase, Record, best, kernel_key

RECORD = Record("0" * 16, "conv", "loops", {"parallel": 1}, 6.0, 5.0, 7)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "kernels"


def open_database(folder):
    return KernelDatabase(targets.get("x86-avx2"), folder)


def test_records_survive_reopening(folder):
    open_database(folder).add(RECORD)
    assert open_database(folder).candidates(RECORD.kernel, "loops") == [RECORD]


def test_a_torn_last_line_is_passed_over_and_later_lines_are_kept(folder):
    open_database(folder).add(RECORD)
    path = folder / RECORDS
    path.write_text(path.read_text() + '{"kernel": "1234", "na')
    other = dataclasses.replace(RECORD, config={"parallel": 0})
    database = open_database(folder)
    assert database.candidates(RECORD.kernel, "loops") == [RECORD]
    database.add(other)
    assert open_database(folder).candidates(RECORD.kernel, "loops") == [RECORD, other]


def test_best_is_the_fastest_of_those_timed_longest(folder):
    database = open_database(folder)
    quick = dataclasses.replace(RECORD, config={"parallel": 0}, fastest_us=1.0, runs=3)
    failed = dataclasses.replace(
        RECORD, config={"parallel": 2}, median_us=None, fastest_us=None, runs=0
    )
    for record in (failed, quick, RECORD):
        database.add(record)
    assert best(database.candidates(RECORD.kernel, "loops")) == RECORD
    assert best(database.candidates(RECORD.kernel, "other")) is None


def test_a_database_belongs_to_one_version_of_the_code(monkeypatch, tmp_path):
    monkeypatch.setenv("HWOPT_HOME", str(tmp_path))
    host = targets.get("host")
    before = KernelDatabase(host).folder
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.0")
    database.code_version.cache_clear()
    assert KernelDatabase(host).folder != before
    monkeypatch.undo()
    database.code_version.cache_clear()


HOLD = """
import sys, time
from pathlib import Path
from hwopt import targets
from hwopt.targets.database import KernelDatabase, Record
database = KernelDatabase(targets.get("x86-avx2"), Path(sys.argv[1]))
with database.alone():
    print("alone", flush=True)
    time.sleep(0.5)
    database.add(Record("0" * 16, "conv", "loops", {"parallel": 1}, 6.0, 5.0, 7))
"""


@pytest.mark.slow
def test_one_process_measures_at_a_time_and_the_next_sees_what_it_found(folder):
    database = open_database(folder)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "alone\n"
        assert database.candidates(RECORD.kernel, "loops") == []
        with database.alone():
            assert database.candidates(RECORD.kernel, "loops") == [RECORD]


def test_a_database_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HwoptError, match="cannot be written"):
        open_database(tmp_path / "file" / "kernels").add(RECORD)


def relu_of_sum(shape, name):
    x = te.placeholder(shape, "float32", name=f"{name}_x")
    y = te.compute(shape, lambda i, j: x[i, j] + x[i, j], name=name)
    return te.create_prim_func([x, y])


def test_the_key_ignores_names_and_sees_shapes():
    first = relu_of_sum((4, 8), "first")
    assert kernel_key(first) == kernel_key(first.with_attr("global_symbol", "renamed"))
    assert kernel_key(first) != kernel_key(relu_of_sum((8, 4), "first"))


@pytest.mark.parametrize(
    "changes",
    [
        {"threads": 7},
        {"cpu": "another"},
        {"emulated": True},
        {"name": "another"},
        {"tvm": {"kind": "c"}},
    ],
)
def test_the_records_of_one_target_are_no_others(changes, tmp_path, monkeypatch):
    monkeypatch.setenv("HWOPT_HOME", str(tmp_path))
    target = targets.get("host")
    KernelDatabase(target).add(Record("key", "name", "template", {"a": 1}, 1.0, 1.0, 5))
    assert KernelDatabase(target).candidates("key", "template")
    other = KernelDatabase(dataclasses.replace(target, **changes))
    assert other.candidates("key", "template") == []
    assert other.folder != KernelDatabase(target).folder
