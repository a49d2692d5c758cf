"""From a torch module to Relax: trace, check every operator, import."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import tvm
from torch import nn
from tvm.relax.frontend.torch import from_exported_program
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from hwopt.compiler import converters
from hwopt.errors import HwoptError, first_line


def lower(module: nn.Module, example_inputs: tuple[torch.Tensor, ...]) -> tvm.IRModule:
    """Trace ``module`` in inference mode and import it into Relax.

    Args:
        module: The model; it is traced in ``eval`` mode and left as it was.
        example_inputs: One tensor per argument; shapes and dtypes become fixed.

    Returns:
        A module whose function ``main`` takes the inputs and returns a tuple of the outputs.
        Parameters are bound as constants.

    Raises:
        HwoptError: if the model cannot be traced, its shapes depend on data, it uses an operator
            that TVM's importer does not know, or the importer fails.
    """
    program = _export(module, example_inputs)
    _refuse_dynamic_shapes(program)
    _refuse_unknown_operators(program)
    # The program is decomposed already: the check above must see what the importer sees.
    try:
        return from_exported_program(
            program,
            keep_params_as_input=False,
            run_ep_decomposition=False,
            custom_convert_map=converters.converters(),
        )
    except Exception as error:  # whatever TVM raises
        reason = first_line(error)
        message = f"TVM cannot import the model: {type(error).__name__}: {reason}"
        raise HwoptError(message) from error


def _export(module: nn.Module, example_inputs: tuple[torch.Tensor, ...]) -> Any:
    """Trace and decompose; warnings of torch about its own internals are not the user's."""
    training = module.training
    module.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            program = torch.export.export(module, example_inputs)
            table = torch.export.default_decompositions() | converters.decompositions()
            return program.run_decompositions(table)
    except Exception as error:  # torch.export raises whatever the traced code raises
        reason = first_line(error)
        raise HwoptError(
            f"the model cannot be traced by torch.export: {type(error).__name__}: {reason}"
        ) from error
    finally:
        module.train(training)


def _refuse_dynamic_shapes(program: Any) -> None:
    for node in program.graph.nodes:
        values = node.meta.get("val")
        for value in values if isinstance(values, tuple | list) else (values,):
            shape = value.shape if isinstance(value, torch.Tensor) else ()
            if isinstance(value, torch.SymInt) or any(not isinstance(n, int) for n in shape):
                raise HwoptError(
                    f"dynamic shapes are not supported yet: {_where(node)} has the shape "
                    f"{list(shape)}"
                )


def _refuse_unknown_operators(program: Any) -> None:
    known = ExportedProgramImporter().create_convert_map() | converters.converters()
    for node in program.graph.nodes:
        if node.op != "call_function" or node.target.__name__ in known:
            continue
        raise HwoptError(
            f"operator {str(node.target)!r} is not supported by the compiler: {_where(node)}"
        )


def _where(node: Any) -> str:
    """Name a traced node by itself, its module and the user's line of code."""
    place = f"node {node.name!r}"
    stack = list(node.meta.get("nn_module_stack", {}).values())
    if stack:
        path, kind = stack[-1]
        kind = kind if isinstance(kind, str) else kind.__qualname__
        place += f" in module {path or 'model'!r} ({kind.rsplit('.', 1)[-1]})"
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines()]
    files = [line for line in lines if line.startswith("File ")]
    return f"{place}, {files[-1]}" if files else place
