"""A whole study for a task whose figure is an error."""

import pytest

from hwopt.errors import HwoptError
from hwopt.search.choose import pick
from hwopt.search.files import STUDY_FILE
from tests.search.studies import changed, study


@pytest.mark.slow
def test_of_errors_the_least_is_searched(tmp_path):
    document = {
        **changed(trials=2, sampler="random", limits={"quality": 0.9}),
        "model": "tests.job.task_networks:regressor",
        "model_options": {"width": 8},
        "data": "tests.job.task_networks:curve",
        "task": "regression{by=root-mean-square}",
    }
    found = study(tmp_path / "errors", document).run()
    assert found.metric.name == "RMS error" and not found.metric.higher_is_better
    assert len(found.measured) == 2 and found.baseline.quality < 0.9
    within = [trial for trial in found.measured if trial.quality <= 0.9]
    assert set(found.on_front) <= {trial.number for trial in within} and within
    assert all(0 <= share <= 1 for _, share in found.hypervolume)
    best = min(found.front, key=lambda trial: trial.quality)
    assert pick(tmp_path / "errors", latency_ms=1e9).number == best.number
    assert pick(tmp_path / "errors", quality=best.quality).number == best.number
    with pytest.raises(HwoptError, match="no model of the front fits: the best has"):
        pick(tmp_path / "errors", quality=0.0)
    # The bound of a pair of networks lies above how much worse the one is on all samples.
    for trial in found.measured:
        assert trial.low < trial.quality < trial.high
        assert trial.worse_by > trial.quality - found.baseline.quality
    assert pick(tmp_path / "errors", no_worse=100.0).number == found.on_front[0]
    unsure = tuple(trial.model_copy(update={"worse_by": 0.5}) for trial in found.trials)
    found.model_copy(update={"trials": unsure}).write(tmp_path / "errors" / STUDY_FILE)
    with pytest.raises(HwoptError, match=r"the best is worse by 0\.5 at the most, with 95 %"):
        pick(tmp_path / "errors", no_worse=0.0)
