"""A conformance kit for passes: run it on your own, in your own tests."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from hwopt.compiler import compile, measure
from hwopt.graph import Graph, import_model
from hwopt.graph.fingerprint import fingerprint
from hwopt.passes import Context, Pass, PassError, apply, parse
from hwopt.passes.runner import random_input

_TOLERANCE = 1e-4
_MEASURED: dict[tuple[str, ...], list[float]] = {}


def check_pass(
    instance: str | Pass,
    graphs: Mapping[str, Graph] | None = None,
    *,
    compiled: bool = True,
) -> list[str]:
    """Check that a pass keeps the contract of ``docs/writing-a-pass.md``.

    On every graph: the input stays as it was; the text form round-trips; the same seed gives the
    same graph; inputs and outputs keep their shapes, also for another batch size; what the pass
    promises (``ensures``, ``preserves_function``) holds; every parameter that is used gets a finite
    gradient; the graph saves and loads; the compiled artefact equals torch; every candidate changes
    the graph; every value of a dimension but the first makes an instance.

    Args:
        instance: a pass or its text.
        graphs: by name; by default four small networks (see :func:`example_graphs`).
        compiled: compile, too; that takes seconds for each graph.

    Returns:
        A line for every graph: what the pass did to it.

    Raises:
        PassError: if the contract is broken; the graph and the rule are named.
        HwoptError: if the pass refuses a graph.

    >>> check_pass("fold-batch-norm", {"tiny": example_graphs()["perceptron"]}, compiled=False)
    ['tiny: not modified']
    """
    (given,) = parse(instance)
    if parse(str(given)) != [given]:
        raise PassError(f"pass {given.name}: its text {given} parses to another pass")
    lines = []
    for name, graph in (graphs or example_graphs()).items():
        try:
            modified = _check_on(given, graph, compiled)
        except PassError as error:
            raise PassError(f"on the graph {name}: {error}") from None
        lines.append(f"{name}: {'modified' if modified else 'not modified'}")
    return lines


def example_graphs() -> dict[str, Graph]:
    """Return small networks with random weights: images unless the name says otherwise.

    >>> sorted(example_graphs())
    ['depthwise', 'perceptron', 'residual', 'transformer']
    """
    torch.manual_seed(0)
    return {
        "perceptron": import_model(
            nn.Sequential(
                nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)
            ),
            torch.randn(1, 12),
        ),
        "residual": import_model(_Residual(), torch.randn(1, 3, 8, 8)),
        "depthwise": import_model(
            nn.Sequential(
                *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Hardswish()),
                *(nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.SiLU()),
                *(nn.Conv2d(8, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)),
            ),
            torch.randn(1, 3, 8, 8),
        ),
        "transformer": import_model(
            nn.Sequential(
                nn.TransformerEncoderLayer(16, 2, 24, batch_first=True),
                nn.Flatten(),
                nn.Linear(80, 4),
            ),
            torch.randn(1, 5, 16),
        ),
    }


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv1, self.conv2 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.conv2(torch.relu(self.conv1(x))))
        return self.fc(x.mean((2, 3)))


def _check_on(given: Pass, graph: Graph, compiled: bool) -> bool:
    """Check one graph; return whether the pass modified it."""
    # debug makes the runner check purity, the interface, and what the pass promises.
    first, second = (apply(graph, given, context_for(graph, debug=True)) for _ in range(2))
    if fingerprint(first) != fingerprint(second):
        raise PassError(f"pass {given} gives another graph with the same seed")
    for candidate in given.candidates(graph, context_for(graph)):
        if parse(str(candidate)) != [candidate]:
            raise PassError(
                f"pass {given.name}: the text of its candidate {candidate} does not parse"
            )
        measures = candidate.needs_latency  # whether it changes anything is only known afterwards
        if not measures and apply(graph, candidate, context_for(graph)) is graph:
            raise PassError(f"pass {given.name}: its candidate {candidate} changes nothing")
    _check_dimensions(given, graph)
    if first is graph:
        return False
    _check_gradients(given, first)
    _check_files(given, first)
    if compiled:
        _check_compiled(given, first)
    return True


def _check_dimensions(given: Pass, graph: Graph) -> None:
    """Check that a search finds an instance for every value but the first of each dimension."""
    if type(given).dimensions is Pass.dimensions:
        return  # they are the candidates
    dimensions = given.dimensions(graph, context_for(graph), levels=3)
    unchanged = {name: values[0] for name, values in dimensions.items()}
    if given.at(unchanged) is not None:
        raise PassError(f"pass {given.name}: the first values of its dimensions do something")
    for name, values in dimensions.items():
        for value in values[1:]:
            instance = given.at({**unchanged, name: value})
            if instance is None or parse(str(instance)) != [instance]:
                message = f"{name} = {value} gives no instance with a text"
                raise PassError(f"pass {given.name}: {message}")


def _check_gradients(given: Pass, graph: Graph) -> None:
    module = graph.to_torch()
    outputs = module(*_inputs(graph, batch=3))
    listed = outputs if isinstance(outputs, tuple) else (outputs,)
    shapes = [tuple(output.shape) for output in listed]
    expected = [graph.spec(operand).at(3) for operand in graph.outputs.values()]
    if shapes != expected:
        raise PassError(f"pass {given.name}: for a batch of 3 the outputs have the shapes {shapes}")
    torch.stack([output.float().square().mean() for output in listed]).sum().backward()
    for name, parameter in module.named_parameters():
        if graph.parameter_users(name) and parameter.grad is None:
            raise PassError(f"pass {given.name}: parameter {name} gets no gradient")
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            raise PassError(f"pass {given.name}: the gradient of {name} is not finite")


def _check_files(given: Pass, graph: Graph) -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph.save(folder)
        if fingerprint(Graph.load(folder)) != fingerprint(graph):
            raise PassError(f"pass {given.name}: the graph is another one after saving and loading")


def _check_compiled(given: Pass, graph: Graph) -> None:
    inputs = _inputs(graph, batch=1)
    with torch.no_grad():
        expected = graph.to_torch().eval()(*inputs)
    with tempfile.TemporaryDirectory() as folder:
        got = compile(graph, kernel_trials=0, output=Path(folder) / "artifact")(*inputs)
    pairs = zip(expected, got, strict=True) if isinstance(got, tuple) else [(expected, got)]
    for torch_output, output in pairs:
        # As numbers: a bool has no difference.
        torch_output, output = torch_output.double(), torch.as_tensor(output).double()
        difference = (torch_output - output).abs().max().item()
        if not difference <= _TOLERANCE * max(1.0, torch_output.abs().max().item()):
            raise PassError(f"pass {given.name}: compiled, the outputs differ by {difference:.3g}")


def context_for(graph: Graph, *, debug: bool = False) -> Context:
    """Return a context with random batches for a graph, and the latency of its torch module."""

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        classes = graph.spec(next(iter(graph.outputs.values()))).at()[-1]
        for seed in range(3):
            yield _inputs(graph, 8, seed)[0], torch.arange(8) % classes

    return Context(batches=batches, latency=_torch_latency, vector_length=4, debug=debug)


def _torch_latency(graphs: Sequence[Graph]) -> list[float]:
    """Return median latencies in ms, run by torch; the same again for the same structures."""
    key = tuple(graph.to_text() for graph in graphs)
    if key not in _MEASURED:
        _MEASURED[key] = _measured_by_torch(graphs)
    return _MEASURED[key]


def _measured_by_torch(graphs: Sequence[Graph]) -> list[float]:
    calls: dict[str, Callable[[], object]] = {}
    for number, graph in enumerate(graphs):
        module, inputs = graph.to_torch().eval(), _inputs(graph, 1)
        calls[str(number)] = functools.partial(module, *inputs)
    with torch.no_grad():
        latencies = measure(calls, threads=torch.get_num_threads(), runs=20)
    return [latency.median_ms for latency in latencies.values()]


def _inputs(graph: Graph, batch: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(random_input(spec, generator, batch) for spec in graph.inputs.values())
