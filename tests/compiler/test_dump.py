"""What a model is on its way, as text."""

import torch

import hwopt
from hwopt import models
from hwopt.graph import Graph


def test_every_pass_and_every_phase_is_written_and_graphs_parse_back(tmp_path):
    graph = hwopt.import_model(models.create("resnet8", width=4), torch.zeros(1, 3, 32, 32))
    (tmp_path / "99-of-another.txt").touch()
    (tmp_path / "notes.txt").touch()
    artifact = hwopt.compile(graph, kernel_trials=0, check=False, dump=tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "00-given.graph.txt",
        "01-fold-constants.graph.txt",
        "02-fold-batch-norm.graph.txt",
        "03-fold-affine.graph.txt",
        "04-eliminate-dead-code.graph.txt",
        "05-lowered.relax.txt",
        "06-phase-1-simplified.relax.txt",
        "07-phase-3-kernels.relax.txt",
        "08-phase-5-schedules.tir.txt",
        "notes.txt",
    ]
    texts = [(tmp_path / name).read_text() for name in names[:-1]]
    assert texts[0] == graph.to_text()
    assert Graph.from_text(texts[4]).to_text() == artifact.graph().to_text()
    assert "R.nn.conv2d" in texts[5] and "R.call_tir" in texts[7]
    assert all(f"# {kernel.name}\n" in texts[8] for kernel in artifact.manifest.kernels)
