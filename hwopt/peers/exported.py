"""A graph as torch exports it, in operators that other runtimes know."""

from __future__ import annotations

import warnings

import torch

from hwopt.graph import Graph, operators


def export(graph: Graph, inputs: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    """Export a graph for inputs of these shapes; our own operators become torch's."""
    program = torch.export.export(graph.to_torch().eval(), inputs)
    own = operators.decompositions()
    if not {node.target for node in program.graph.nodes} & set(own):
        return program
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        return program.run_decompositions(own)
