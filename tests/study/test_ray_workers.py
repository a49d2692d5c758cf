"""Tasks on a Ray cluster of this machine."""

import socket

import pytest

from hwopt.errors import HwoptError
from hwopt.study.ray_workers import RayWorkers
from tests.study.studies import changed, study

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'hwopt[ray]'")


@pytest.fixture
def cluster():
    yield RayWorkers("local")
    ray.shutdown()


@pytest.mark.slow
# Ray's own: it leaves the log files of its processes to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_two_candidates_are_trained_on_a_cluster(cluster, tmp_path):
    document = study(tmp_path, changed(trials=2, workers=2), workers=cluster).run()
    assert [trial["state"] for trial in document["trials"]] == ["measured"] * 2


def test_where_nobody_answers_is_said_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(HwoptError, match=f"no Ray cluster at {address}: .*refused"):
            RayWorkers(address)
    with pytest.raises(HwoptError, match="the address of a Ray cluster is HOST:PORT, not 'near'"):
        RayWorkers("near")
