import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from hwopt import targets
from hwopt.compiler.pipeline import to_kernels, unscheduled
from hwopt.targets.meta_schedule import search
from tests.networks import lowered

HOST = targets.get("host")


@pytest.mark.slow
def test_a_torn_line_costs_itself_alone(tmp_path):
    module = lowered(nn.Conv3d(1, 2, 3), (torch.randn(1, 1, 4, 5, 5),))
    name, func = next(
        one for one in unscheduled(to_kernels(module, HOST)).items() if "conv" in one[0]
    )
    first = search(func, name, HOST, tmp_path, kernel_trials=2, seed=0)
    assert first.measured == 2 and first.median_us is not None
    records = tmp_path / "tuning_records.json"
    whole = records.read_text()
    records.write_text(whole + whole.splitlines()[-1][:40])
    again = search(func, name, HOST, tmp_path, kernel_trials=0, seed=0)
    assert again.median_us == first.median_us
    assert records.read_text() == whole

    # A workload that was torn takes its records with it.
    workloads = tmp_path / "workloads.json"
    workloads.write_text(workloads.read_text()[:-20])
    anew = search(func, name, HOST, tmp_path, kernel_trials=2, seed=0)
    assert anew.measured == 2
    assert all(json.loads(line) for line in records.read_text().splitlines())


NOTHING_KNOWN = """
import sys
from pathlib import Path
import torch
from hwopt import targets
from hwopt.compiler.pipeline import to_kernels, unscheduled
from hwopt.targets.meta_schedule import search
from tests.networks import lowered
module = lowered(torch.nn.Conv3d(1, 2, 3), (torch.randn(1, 1, 4, 5, 5),))
for name, func in unscheduled(to_kernels(module, targets.get("host"))).items():
    found = search(func, name, targets.get("host"), Path(sys.argv[1]), kernel_trials=0, seed=0)
    assert found == (None, None, 0)
assert "tvm.s_tir.tensor_intrin" not in sys.modules
"""


@pytest.mark.slow
def test_where_nothing_is_measured_no_intrinsics_are_imported(tmp_path):
    """It takes seconds."""
    subprocess.run([sys.executable, "-c", NOTHING_KNOWN, str(tmp_path)], check=True)
