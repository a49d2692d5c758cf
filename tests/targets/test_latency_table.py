import dataclasses
import json

import pytest
from tvm import te, tirx

from hwopt import targets
from hwopt.errors import HwoptError
from hwopt.targets import latency_table
from hwopt.targets.kernel_shape import OPAQUE, KernelShape, kernel_shape
from hwopt.targets.latency_table import LOG, KernelCalls, LatencyTable

HOST = targets.get("x86-avx2", threads=1)
SMALL, LARGE = KernelShape("loops:sum/2", (4, 8, 128)), KernelShape("loops:sum/2", (8, 8, 256))


@pytest.fixture
def table(tmp_path):
    found = LatencyTable(HOST, tmp_path)
    found.add_kernels({SMALL: 1.5, LARGE: 3.0})
    found.add_network([KernelCalls(LARGE, 2), KernelCalls(SMALL, 1)], 0.008)
    return found


def test_later_measurements_are_kept_and_count(table, tmp_path):
    table.add_kernels({SMALL: 2.0})
    again = LatencyTable(HOST, tmp_path)
    assert again.kernels == table.kernels == {SMALL: 2.0, LARGE: 3.0}
    assert (
        again.networks == table.networks == {(KernelCalls(SMALL, 1), KernelCalls(LARGE, 2)): 0.008}
    )


def test_a_line_that_a_kill_tore_costs_itself_alone(table, tmp_path):
    log = tmp_path / LOG
    log.write_text(log.read_text() + '{"kernel": ["loops:sum/2", [16,')
    again = LatencyTable(HOST, tmp_path)
    other = KernelShape("loops:sum/2", (16, 8, 512))
    again.add_kernels({other: 6.0})
    assert LatencyTable(HOST, tmp_path).kernels == {**table.kernels, other: 6.0}


def test_a_file_ships_to_the_same_device(table, tmp_path):
    table.save(tmp_path / "table.json")
    other = LatencyTable(dataclasses.replace(HOST, name="another-name"), tmp_path / "other")
    other.add_kernels({SMALL: 9.0})
    assert other.merge(tmp_path / "table.json") == []
    # What was measured here stays.
    assert other.kernels == {SMALL: 9.0, LARGE: 3.0}
    assert other.networks == table.networks


@pytest.mark.parametrize("changes", [{"cpu": "another"}, {"threads": 2}])
def test_a_table_of_another_device_is_refused(changes, table, tmp_path):
    table.save(tmp_path / "table.json")
    other = LatencyTable(dataclasses.replace(HOST, **changes), tmp_path / "other")
    with pytest.raises(HwoptError, match=r"is the table of x86-avx2 .*, not of"):
        other.merge(tmp_path / "table.json")
    assert not other.kernels


def test_other_versions_and_old_dates_are_told(table, tmp_path):
    path = tmp_path / "table.json"
    table.save(path)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "kernel_code": "0", "date": "2020-02-02"}))
    version, age = LatencyTable(HOST, tmp_path / "other").merge(path)
    assert "another version" in version and "2020-02-02" in age


def test_what_is_no_table_is_one_sentence(tmp_path):
    path = tmp_path / "table.json"
    path.write_text('{"kernels": []}')
    with pytest.raises(HwoptError, match="is no latency table: device: Field required"):
        LatencyTable(HOST, tmp_path).merge(path)
    with pytest.raises(HwoptError, match="nothing was measured on x86-avx2 yet"):
        LatencyTable(HOST, tmp_path).save(path)


def test_a_table_belongs_to_one_target(monkeypatch, tmp_path):
    monkeypatch.setenv("HWOPT_HOME", str(tmp_path))
    LatencyTable(HOST).add_kernels({SMALL: 1.0})
    assert LatencyTable(HOST).kernels == {SMALL: 1.0}
    assert LatencyTable(dataclasses.replace(HOST, threads=2)).kernels == {}
    monkeypatch.setattr(latency_table, "own_folder", lambda _: tmp_path / "other code")
    assert LatencyTable(HOST).kernels == {}


def test_shapes_of_kernels():
    x = te.placeholder((4, 8), "float32", name="x")
    k = te.reduce_axis((0, 8), name="k")
    sums = te.compute((4,), lambda i: te.sum(x[i, k] * x[i, k], axis=k), name="sums")
    y = te.compute((4,), lambda i: sums[i] + 1.0, name="y")
    shape = kernel_shape(te.create_prim_func([x, y]), HOST)
    # 4 x 8 sums, 4 additions, two blocks, 32 floats read and 4 written.
    assert shape == KernelShape("loops:sums/2", (4, 8, 4, 2, 144))
    n = tirx.Var("n", "int64")
    z = te.placeholder((n,), "float32", name="z")
    dynamic = te.create_prim_func([z, te.compute((n,), lambda i: z[i] + 1.0, name="w")])
    assert kernel_shape(dynamic, HOST) == KernelShape(OPAQUE, (0,))
