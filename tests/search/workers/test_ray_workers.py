"""Tasks on a Ray cluster of this machine."""

import socket

import pytest

from hwopt.errors import HwoptError
from hwopt.search.workers.processes import Task
from hwopt.search.workers.ray_workers import RayWorkers, Surroundings, _run_one
from tests.search.studies import changed, study

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'hwopt[ray]'")


@pytest.fixture
def cluster():
    yield RayWorkers("local")
    ray.shutdown()


@pytest.mark.slow
# Ray's own: it leaves the log files of its processes to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_two_candidates_are_trained_on_a_cluster(cluster, tmp_path):
    results = study(tmp_path, changed(trials=2, workers=2), workers=cluster).run()
    assert [trial.state for trial in results.trials] == ["measured"] * 2
    with pytest.raises(HwoptError, match="takes 1000 threads, and no machine of the Ray cluster"):
        cluster.run([Task("builtins:print", threads=1000)], 1)


def test_a_machine_with_other_vectors_is_no_host(tmp_path):
    task = Task("builtins:print", float_lanes=999)
    found = _run_one(task, 1, Surroundings(str(tmp_path), None))
    assert "of 999: name the target in the recipe instead of host" in found.reason


def test_where_nobody_answers_is_said_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(HwoptError, match=f"no Ray cluster at {address}: .*refused"):
            RayWorkers(address)
    with pytest.raises(HwoptError, match="the address of a Ray cluster is HOST:PORT, not 'near'"):
        RayWorkers("near")
