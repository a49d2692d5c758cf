"""Networks of torchvision, timm and Hugging Face: imported, pruned, compiled, compared.

    python -m benchmarks sweep [torchvision|timm|huggingface ...] [--only NAME ...] [--again]

Each network has random weights; batch norms know the statistics of two random images, and what a
new network has constant (scales, biases) is drawn, so that what it does shows in the outputs. It is
imported, pruned by 0.3 and compiled in a process of its own; the compiled network's outputs are
compared with the model's. In another process Torch-Pruning prunes it by as much, with its usual
options, and what is left is counted in the same way. ``--again`` takes up what was not equal.
"""

from __future__ import annotations

import functools
import logging
import re
import resource
import time
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import hwopt
from benchmarks import hugging_face, networks_page
from benchmarks.apart import Ended, apart
from benchmarks.experiment import Experiment
from benchmarks.records import Records, latest
from benchmarks.timm_families import TIMM
from hwopt.errors import HwoptError, check_choice
from hwopt.models import libraries

TOLERANCE = 1e-4
#: How many times as far from float64 as torch's own float32 another order of sums may be.
MARGIN = 4.0
RATIO = 0.3
#: Of a process with one network, and of one in which Torch-Pruning prunes one.
SECONDS, PEER_SECONDS = 1500.0, 60.0
LIBRARIES = ("huggingface", "timm", "torchvision")
#: Of memory, for one process.
MOST_BYTES = 23 << 30
Made = tuple[nn.Module, tuple[Tensor, ...] | Mapping[str, Tensor]]


def names(library: str) -> list[str]:
    """Return the names of a library's networks that are swept."""
    if library == "huggingface":
        return list(hugging_face.FAMILIES)
    if library == "timm":
        return list(TIMM)
    models = libraries.torchvision().models
    # Detectors are left out: how much they return depends on data.
    parts = (models, models.segmentation, models.video)
    return [name for part in parts for name in models.list_models(part)]


def make(library: str, name: str) -> Made:
    """Return a network in evaluation mode, and example inputs."""
    torch.manual_seed(0)
    inputs: Any
    if library == "huggingface":
        model, inputs = hugging_face.create(name)
    else:
        options = {"weights_backbone": None} if _has_backbone(name) else {}
        model, shape = libraries.create(f"{library}:{name}", **options)
        inputs = (torch.randn(1, *shape),)
    lively(model, inputs)
    return model.eval(), inputs


def _has_backbone(name: str) -> bool:
    return name.startswith(("deeplab", "fcn", "lraspp"))


def lively(model: nn.Module, inputs: Any) -> None:
    """Let everything in a network show in its outputs."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point() and parameter.numel() > 1:
                first = parameter.reshape(-1)[0]
                if (parameter == first).all():
                    low, high = (-0.1, 0.1) if first == 0 else (0.5, 1.5)
                    parameter.uniform_(low, high)
        model.eval()
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.train()
            norm.momentum = None  # the mean over all batches, of which there is one
            norm.reset_running_stats()
        if norms:
            called(model, pytree.tree_map(_two, inputs))


def _double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _two(x: Tensor) -> Tensor:
    return torch.cat([x, torch.randn_like(x) if x.is_floating_point() else x])


def called(model: nn.Module, inputs: Any) -> list[Tensor]:
    """Return the tensors that a network returns."""
    with torch.no_grad():
        found = model(**inputs) if isinstance(inputs, Mapping) else model(*inputs)
    return [leaf for leaf in pytree.tree_leaves(found) if isinstance(leaf, Tensor)]


def measure(library: str, name: str) -> dict[str, Any]:
    """Take a network through hwopt."""
    model, inputs = make(library, name)
    expected = called(model, inputs)
    start = time.perf_counter()
    try:
        graph = hwopt.import_model(model, inputs)
    except HwoptError as error:
        return {"outcome": "not imported", "reason": str(error)[:400]}
    figures: dict[str, Any] = {"import_seconds": round(time.perf_counter() - start, 1)}
    del model
    figures |= {"parameters": graph.num_parameters(), "macs": graph.macs()}
    examples = [inputs[n] for n in graph.inputs] if isinstance(inputs, Mapping) else inputs
    start = time.perf_counter()
    try:
        found = hwopt.compile(graph, examples, kernel_trials=0)(*examples)
    except HwoptError as error:
        return {"outcome": "not compiled", "reason": str(error)[:400], **figures}
    figures["compile_seconds"] = round(time.perf_counter() - start, 1)
    outputs = list(found) if isinstance(found, tuple) else [found]
    difference = max(relative(*pair) for pair in zip(outputs, expected, strict=True))
    if difference > TOLERANCE:  # torch's own float32 may be as far from what is right
        model, inputs = make(library, name)
        exact = called(model.double(), pytree.tree_map(_double, inputs))
        figures["difference_of_torch"] = max(map(relative, expected, exact))
        difference = max(map(relative, outputs, exact))
    allowed = max(TOLERANCE, MARGIN * figures.get("difference_of_torch", 0.0))
    outcome = "equal" if difference <= allowed else "wrong"
    return {"outcome": outcome, "difference": difference, **figures}


def measure_pruned(library: str, name: str) -> dict[str, Any]:
    """Prune a network, and run what is left."""
    model, inputs = make(library, name)
    graph = hwopt.import_model(model, inputs)
    pruned = hwopt.apply(graph, f"prune-channels{{ratio={RATIO}}}")
    examples = [inputs[n] for n in graph.inputs] if isinstance(inputs, Mapping) else inputs
    called(pruned.to_torch().eval(), examples)
    return {"macs_left": pruned.macs() / max(1, graph.macs())}


def relative(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, as a share of the largest number; infinite beside NaN."""
    difference = (found.double() - expected.double()).abs().max().item()
    scale = expected.double().abs().max().item()
    return difference / scale if difference == difference and scale else float(difference != 0)


def _channels(model: nn.Module) -> int:
    """Return how many channels all layers make."""
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    return sum(m.weight.shape[0] for m in model.modules() if isinstance(m, kinds))


def measure_peer(library: str, name: str) -> dict[str, Any]:
    """Let Torch-Pruning prune a network."""
    import torch_pruning

    model, inputs = make(library, name)
    before, channels = hwopt.import_model(model, inputs).macs(), _channels(model)
    outputs = {size for x in called(model, inputs) for size in x.shape[1:]}
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Conv3d)]
    kept = [m for m in layers if m.weight.shape[0] in outputs][-1:]
    try:
        torch_pruning.pruner.MagnitudePruner(
            model,
            dict(inputs) if isinstance(inputs, Mapping) else inputs,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=RATIO,
            ignored_layers=kept,
        ).step()
        called(model, inputs)
        left = hwopt.import_model(model, inputs).macs()
        return {
            "macs_left": left / max(1, before),
            "channels_left": _channels(model) / max(1, channels),
        }
    except Exception as error:  # it raises whatever torch raises
        reason = re.sub(r"/\S*/site-packages/", "", f"{type(error).__name__}: {error}")
        return {"reason": reason[:200]}


#: By the records' name: what is measured, and for how long at most.
PRUNING = {
    "sweep_pruned": (measure_pruned, SECONDS),
    "sweep_peer": (measure_peer, PEER_SECONDS),
}


def isolated(
    function: Callable[..., dict[str, Any]], *arguments: str, seconds: float
) -> dict[str, Any]:
    """Return the figures of a process of its own, or how that ended."""
    try:
        return apart(_guarded, function, *arguments, seconds=seconds)
    except Ended as end:
        return {"outcome": "ended", "reason": str(end)}


def _guarded(function: Callable[..., dict[str, Any]], *arguments: str) -> dict[str, Any]:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    try:
        return function(*arguments)
    except Exception as error:
        return {"outcome": "traceback", "reason": f"{type(error).__name__}: {error}"[:400]}


def about_differences() -> str:
    """Return what the page says of its figures."""
    return (
        f"Weights are random. The difference is the largest of all outputs, as a share of the "
        f"largest number; equal is within {TOLERANCE:g} of torch. Where it is more, both are "
        f"compared with float64, and {MARGIN:g} times torch's own difference is allowed: the "
        f"remark says it. MACs left are those of `prune-channels{{ratio={RATIO}}}` and of "
        "Torch-Pruning's `MagnitudePruner` with the same ratio and its usual options, counted in "
        "the same way; where it fails, nothing stands there. As its are those within three points "
        "of them, or fewer."
    )


def options(parser: ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("libraries", nargs="*", default=LIBRARIES, help=", ".join(LIBRARIES))
    parser.add_argument("--only", nargs="+", help="networks by name")
    parser.add_argument("--again", action="store_true", help="what was not equal")
    parser.add_argument("--pruning", action="store_true", help="only that")
    parser.add_argument("--page", action="store_true", help="write docs/networks.md")


def start(chosen: Namespace) -> None:
    """Take every network through hwopt and through Torch-Pruning; or write the page."""
    for library in chosen.libraries:
        check_choice("library", library, LIBRARIES)
    if chosen.page:
        networks_page.write(about_differences())
        return
    for library in chosen.libraries:
        for name in names(library):
            if not chosen.only or name in chosen.only:
                swept(library, name, chosen)


def swept(library: str, name: str, chosen: Namespace) -> None:
    """Take a network through what has no line yet."""
    records = Records("sweep")
    key = {"library": library, "network": name}
    before = latest(records.read(), "library", "network").get((library, name))
    if not chosen.pruning and (before is None or (chosen.again and before["outcome"] != "equal")):
        records.append(key, isolated(measure, library, name, seconds=SECONDS))
    for other, (function, seconds) in PRUNING.items():
        call = functools.partial(isolated, function, library, name, seconds=seconds)
        Records(other).run(key, call)


EXPERIMENTS = (
    Experiment(
        name="sweep",
        about="networks of torchvision, timm and Hugging Face through everything",
        chapter="networks of others",
        main=start,
        alone=False,
        options=options,
    ),
)
