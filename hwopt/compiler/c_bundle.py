"""A model as a folder of C99 files, for devices without an operating system.

``model.h`` declares one function; ``model.c`` has it, the kernels, and one static piece of memory
for everything that is computed; ``weights.c`` has the constants, which stay in flash.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hwopt.compiler.manifest import TensorDescription
from hwopt.compiler.plan import Call, Placement, Plan
from hwopt.errors import HwoptError
from hwopt.targets.c_source import ALIGNMENT, SCRATCH, CKernel

HEADER, SOURCE, WEIGHTS, MAKEFILE = "model.h", "model.c", "weights.c", "Makefile"
C_TYPES = {
    "float32": "float",
    "float64": "double",
    "int8": "int8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "uint8": "uint8_t",
    "uint32": "uint32_t",
    "bool": "bool",
}
_BYTES_A_LINE = 20
_PREAMBLE = """\
#include "model.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define hwopt_popcount(word) __builtin_popcount(word)
#else
static inline uint32_t hwopt_popcount(uint32_t word) {{
  word -= word >> 1 & 0x55555555u;
  word = (word & 0x33333333u) + (word >> 2 & 0x33333333u);
  return ((word + (word >> 4)) & 0x0F0F0F0Fu) * 0x01010101u >> 24;
}}
#endif

extern const uint8_t {name}_weights[];
"""


@dataclasses.dataclass(frozen=True)
class Bundle:
    """The files of a model, and what it takes.

    Attributes:
        files: their texts by their names.
        arena_bytes: of static memory for all that is computed, inputs and outputs not counted.
        weight_bytes: of constants.
    """

    files: dict[str, str]
    arena_bytes: int
    weight_bytes: int


def c_bundle(
    name: str,
    plan: Plan,
    constants: np.ndarray,
    kernels: Mapping[str, CKernel],
    inputs: Sequence[TensorDescription],
    outputs: Sequence[TensorDescription],
) -> Bundle:
    """Write a model as C.

    Args:
        name: of the function: ``NAME_run``.
        plan: the calls between the kernels.
        constants: packed, as ``plan.packed_constants`` says.
        kernels: by name.
        inputs, outputs: of the model.

    Raises:
        HwoptError: if a value has a dtype that C has not.
    """
    scratch = {kernel: c.scratch_bytes for kernel, c in kernels.items()}
    arena = plan.workspace(alignment=ALIGNMENT, apart=0, scratch=scratch)
    writer = _Writer(name, plan, arena)
    prototype = writer.prototype(inputs, outputs)
    files = {
        HEADER: _header(name, prototype, inputs, outputs),
        SOURCE: writer.source(prototype, kernels),
        WEIGHTS: _weights(name, constants),
        MAKEFILE: _makefile(),
    }
    return Bundle(files, arena.bytes, constants.nbytes)


class _Writer:
    """Writes the function that calls the kernels."""

    def __init__(self, name: str, plan: Plan, arena: Placement) -> None:
        self._name, self._plan, self._arena = name, plan, arena
        self._constants = plan.packed_constants().places
        self._names: dict[int, str] = {}

    def prototype(
        self, inputs: Sequence[TensorDescription], outputs: Sequence[TensorDescription]
    ) -> str:
        """Return the declaration, without its semicolon."""
        plan, parameters = self._plan, []
        for numbers, specs, word in (
            (plan.inputs, inputs, "input"),
            (plan.outputs, outputs, "output"),
        ):
            for place, (number, spec) in enumerate(zip(numbers, specs, strict=True)):
                parameter = word if len(specs) == 1 else f"{word}{place}"
                constant = "const " if word == "input" else ""
                parameters.append(f"{constant}{_c_type(spec.dtype)} *{parameter}")
                self._names.setdefault(number, parameter)
        if len({*plan.inputs, *plan.outputs}) < len(plan.inputs) + len(plan.outputs):
            raise HwoptError("a model that hands an input on, or one value twice, has no C form")
        return f"int {self._name}_run({', '.join(parameters)})"

    def source(self, prototype: str, kernels: Mapping[str, CKernel]) -> str:
        """Return the file with the kernels and the function."""
        size = self._arena.bytes
        lines = [
            _PREAMBLE.format(name=self._name),
            "/* What is computed; C gives an array of doubles the alignment that all need. */",
            f"static double arena_memory[{-(-size // ALIGNMENT)}];",
            "static uint8_t *const arena = (uint8_t *)arena_memory;",
            *([f"static uint8_t *{SCRATCH};"] if min(self._arena.places, default=0) < 0 else []),
            "",
            *(kernel.text for kernel in kernels.values()),
            f"{prototype} {{",
            *self._calls(),
            "  return 0;",
            "}",
        ]
        return "\n".join(lines) + "\n"

    def _calls(self) -> Iterator[str]:
        numbered = enumerate(self._plan.calls)
        for when, calls in itertools.groupby(numbered, key=lambda one: one[1].when):
            indent = "    " if when else "  "
            if when:
                yield f"  if ({' && '.join(self._any(*asked) for asked in when)}) {{"
            for i, call in calls:
                if -1 - i in self._arena.places:
                    yield f"{indent}{SCRATCH} = arena + {self._arena.places[-1 - i]};"
                yield f"{indent}{call.kernel}({self._arguments(call)});"
            if when:
                yield "  }"

    def _any(self, predicate: int, holds: bool) -> str:
        """Return whether a predicate holds, or does not, in one of its rows at least."""
        rows = self._plan.values[predicate].shape[0]
        tests = [f"{'' if holds else '!'}{self._pointer(predicate)}[{row}]" for row in range(rows)]
        return f"({' || '.join(tests)})"

    def _arguments(self, call: Call) -> str:
        return ", ".join(self._pointer(number) for number in call.arguments)

    def _pointer(self, number: int) -> str:
        kind = _c_type(self._plan.values[number].dtype)
        if number in self._names:
            return f"(({kind} *){self._names[number]})"
        if number in self._constants:
            return f"(({kind} *)({self._name}_weights + {self._constants[number]}))"
        return f"(({kind} *)(arena + {self._arena.places[number]}))"


def _c_type(dtype: str) -> str:
    if dtype not in C_TYPES:
        raise HwoptError(f"C has no type for the dtype {dtype}")
    return C_TYPES[dtype]


def _header(
    name: str,
    prototype: str,
    inputs: Sequence[TensorDescription],
    outputs: Sequence[TensorDescription],
) -> str:
    tensors = [
        f" * {word} {spec.name}: {_c_type(spec.dtype)} {list(spec.shape)}"
        for word, specs in (("input", inputs), ("output", outputs))
        for spec in specs
    ]
    guard = f"{name.upper()}_H"
    return "\n".join(
        [
            f"#ifndef {guard}",
            f"#define {guard}",
            "",
            "#include <stdbool.h>",
            "#include <stdint.h>",
            "",
            "#ifdef __cplusplus",
            'extern "C" {',
            "#endif",
            "",
            "/* Runs the model once; returns 0. Tensors are dense, the last dimension next to it.",
            *tensors,
            " */",
            f"{prototype};",
            "",
            "#ifdef __cplusplus",
            "}",
            "#endif",
            "",
            f"#endif /* {guard} */",
            "",
        ]
    )


def _weights(name: str, constants: np.ndarray) -> str:
    """Return a file with an array of bytes, aligned as the widest type is."""
    padded = np.zeros(-(-constants.nbytes // 8) * 8, np.uint8)
    padded[: constants.nbytes] = constants
    lines = [
        ", ".join(map(str, padded[start : start + _BYTES_A_LINE]))
        for start in range(0, len(padded), _BYTES_A_LINE)
    ]
    return "\n".join(
        [
            "#include <stdint.h>",
            "",
            "#if defined(__GNUC__)",
            "__attribute__((aligned(8)))",
            "#endif",
            f"const uint8_t {name}_weights[{len(padded)}] = {{",
            *(f"{line}," for line in lines),
            "};",
            "",
        ]
    )


def _makefile() -> str:
    return (
        "# For a Cortex-M4F: make CC=arm-none-eabi-gcc AR=arm-none-eabi-ar \\\n"
        "#   CFLAGS='-O2 -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16'\n"
        "CFLAGS ?= -O2\n"
        "CFLAGS += -std=c99\n\n"
        "libmodel.a: model.o weights.o\n\t$(AR) rcs $@ $^\n\n"
        "model.o: model.h\n\n"
        ".PHONY: clean\nclean:\n\trm -f *.o libmodel.a\n"
    )
