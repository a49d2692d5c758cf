"""``hwopt export --c``: from a model or a graph to a folder of C99."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hwopt.compiler.prepare import prepare
from hwopt.errors import HwoptError
from hwopt.files import atomic_folder, check_replaceable, write_json
from hwopt.graph import Graph

if TYPE_CHECKING:
    from hwopt.targets import Target

BUNDLE_FILE = "bundle.json"
#: Of the least memory for activations; kernels take no more, if they can, for what they copy.
SCRATCH_SHARE = 0.1


def export_c(
    model_or_graph: torch.nn.Module | Graph,
    example_inputs: torch.Tensor | Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    output: str | Path,
    target: str | Path | Target = "cortex-m4",
    name: str = "model",
) -> dict[str, Any]:
    """Write a model as C99: one function, its kernels, its weights, one static piece of memory.

    Args:
        model_or_graph, example_inputs: as of ``hwopt.compile``.
        output: the folder; another bundle that is there is replaced, anything else is refused.
        target: of TVM's kind ``c``, for kernels in C; or ``llvm``, for kernels in an object file
            with vectors. One thread.
        name: of the function, ``NAME_run``.

    Returns:
        What stands in ``bundle.json``, too: ``ram_bytes`` (the static memory), ``weight_bytes``
        and ``code_bytes`` (in flash; the second one predicted), ``activation_bytes`` (the least
        that values alone take), ``macs``, inputs and outputs.

    Raises:
        HwoptError: if the model cannot be written as C, does not fit into the target's memory, or
            ``output`` is something else than a bundle.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     facts = export_c(torch.nn.Linear(8, 4), torch.randn(1, 8), output=f"{folder}/c")
    >>> facts["weight_bytes"]
    192
    """
    from hwopt import targets
    from hwopt.compiler.c_bundle import c_bundle
    from hwopt.compiler.footprint import Footprint
    from hwopt.compiler.pipeline import to_kernels, unscheduled
    from hwopt.compiler.whole_model import follow
    from hwopt.targets import tuner
    from hwopt.targets.c_objects import c_objects
    from hwopt.targets.c_source import c_source

    chosen = targets.get(target, threads=1)
    if chosen.is_gpu:
        raise HwoptError(f"target {chosen.name} is a GPU, and C is for processors")
    folder = Path(output)
    check_replaceable(folder, BUNDLE_FILE)
    if not re.fullmatch(r"[A-Za-z]\w*", name):
        raise HwoptError(f"{name!r} is no name for a function of C")
    prepared = prepare(model_or_graph, example_inputs)
    graph, inputs, outputs = prepared.graph, prepared.inputs, prepared.outputs
    module = to_kernels(prepared.lowered(), chosen)
    functions, model = unscheduled(module), follow(module)
    footprint = Footprint.of(model.plan)
    if chosen.tvm["kind"] == "c":
        most = int(SCRATCH_SHARE * footprint.activation_bytes)
        code = c_source(functions, chosen, most)
    else:
        choices = tuner.choose(functions, chosen, kernel_trials=0)
        scheduled = {kernel: choice.func for kernel, choice in choices.items()}
        code = c_objects(scheduled, chosen, name)
    bundle = c_bundle(name, model.plan, model.constants, code, inputs, outputs)
    taken = {"workspace_bytes": bundle.arena_bytes, "library_bytes": code.code_bytes}
    footprint = footprint.model_copy(update=taken)
    footprint.check(chosen)
    facts = {
        "function": f"{name}_run",
        "ram_bytes": bundle.arena_bytes,
        "weight_bytes": bundle.weight_bytes,
        "code_bytes": code.code_bytes,
        "activation_bytes": footprint.activation_bytes,
        "macs": graph.macs(),
        "parameters": graph.num_parameters(),
        "inputs": [spec.model_dump(mode="json") for spec in inputs],
        "outputs": [spec.model_dump(mode="json") for spec in outputs],
        "target": dataclasses.asdict(chosen),
        "passes": list(graph.history),
    }
    with atomic_folder(folder, BUNDLE_FILE) as temporary:
        for file, content in bundle.files.items():
            (temporary / file).write_bytes(content)
        write_json(temporary / BUNDLE_FILE, facts)
    return facts
