"""A model as a folder of C99 files, for devices without an operating system.

``NAME.h`` declares one function; ``NAME.c`` has it, the kernels, and one static piece of memory for
everything that is computed; ``NAME_weights.c`` has the constants, which stay in flash.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from hwopt.compiler.manifest import TensorDescription
from hwopt.compiler.plan import KernelCall, Placement, Plan, PlannedCheck
from hwopt.targets.c_code import SCRATCH, CCode, c_type

_BYTES_A_LINE = 20
_INCLUDES = """\
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* As TVM writes what is infinite. */
#define inf INFINITY
#define inff INFINITY

"""


@dataclasses.dataclass(frozen=True)
class Bundle:
    """The files of a model, and what it takes.

    Attributes:
        files: their contents by their names.
        arena_bytes: of static memory for all that is computed, inputs and outputs not counted.
        weight_bytes: of constants.
    """

    files: dict[str, bytes]
    arena_bytes: int
    weight_bytes: int


def c_bundle(
    name: str,
    plan: Plan,
    constants: np.ndarray,
    code: CCode,
    inputs: Sequence[TensorDescription],
    outputs: Sequence[TensorDescription],
) -> Bundle:
    """Write a model as C.

    Args:
        name: of the function: ``NAME_run``.
        plan: the calls between the kernels.
        constants: packed, as ``plan.packed_constants`` says.
        code: the kernels.
        inputs, outputs: of the model.

    Raises:
        HwoptError: if a value has a dtype that C has not.
    """
    scratch = {name: kernel.scratch_bytes for name, kernel in code.kernels.items()}
    arena = plan.workspace(alignment=code.alignment, apart=0, scratch=scratch)
    writer = _Writer(name, plan, arena, code)
    prototype = writer.prototype(inputs, outputs)
    texts = {
        f"{name}.h": _header(name, prototype, inputs, outputs, plan.checks, code.alignment),
        f"{name}.c": writer.source(prototype),
        f"{name}_weights.c": _weights(name, constants, code.alignment),
        "Makefile": _makefile(name, code),
    }
    files = {file: text.encode() for file, text in texts.items()} | code.objects
    return Bundle(files, arena.bytes, constants.nbytes)


class _Writer:
    """Writes the function that calls the kernels."""

    def __init__(self, name: str, plan: Plan, arena: Placement, code: CCode) -> None:
        self._name, self._plan, self._arena, self._code = name, plan, arena, code
        self._constants = plan.packed_constants().places
        self._names: dict[int, str] = {}
        self._copies: list[tuple[str, int]] = []

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
                parameters.append(f"{constant}{c_type(spec.dtype)} *{parameter}")
                if number in self._names or number in self._constants:
                    self._copies.append((parameter, number))  # no kernel writes it
                else:
                    self._names[number] = parameter
        return f"int {self._name}_run({', '.join(parameters)})"

    def source(self, prototype: str) -> str:
        """Return the file with the kernels and the function."""
        code = self._code
        lines = [
            f'#include "{self._name}.h"',
            "",
            _INCLUDES,
            f"extern const {_bytes(self._plan.packed_constants().bytes)} {self._name}_weights;",
            "",
            *(self._memory() if self._arena.places else []),
            *([f"static uint8_t *{SCRATCH};"] if self._uses_scratch() else []),
            "",
            code.preamble,
            *(kernel.text for kernel in code.kernels.values()),
            f"{prototype} {{",
            *self._calls(),
            *(
                f"  memcpy({copy}, {self._pointer(number)}, {self._plan.values[number].bytes});"
                for copy, number in self._copies
            ),
            *(
                f"  if (*{self._pointer(check.value)}) return {place};"
                for place, check in enumerate(self._plan.checks, 1)
            ),
            "  return 0;",
            "}",
        ]
        return "\n".join(lines) + "\n"

    def _memory(self) -> list[str]:
        return [
            "/* What is computed: memory that values of several types take one after the other. */",
            f"{_aligned(self._code.alignment)}static {_bytes(self._arena.bytes)} arena_memory;",
            "static uint8_t *const arena = arena_memory.bytes;",
        ]

    def _uses_scratch(self) -> bool:
        return SCRATCH in self._code.preamble or min(self._arena.places, default=0) < 0

    def _calls(self) -> Iterator[str]:
        numbered = enumerate(self._plan.calls)
        for when, calls in itertools.groupby(numbered, key=lambda one: one[1].when):
            indent = "    " if when else "  "
            if when:
                yield f"  if ({' && '.join(self._any(*asked) for asked in when)}) {{"
            for i, call in calls:
                if -1 - i in self._arena.places:
                    yield f"{indent}{SCRATCH} = arena + {self._arena.places[-1 - i]};"
                function = self._code.kernels[call.kernel].function
                yield f"{indent}{function}({self._arguments(call)});"
            if when:
                yield "  }"

    def _any(self, predicate: int, holds: bool) -> str:
        """Return whether a predicate holds, or does not, in one of its rows at least."""
        rows = self._plan.values[predicate].shape[0]
        tests = [f"{'' if holds else '!'}{self._pointer(predicate)}[{row}]" for row in range(rows)]
        return f"({' || '.join(tests)})"

    def _arguments(self, call: KernelCall) -> str:
        return ", ".join(self._pointer(number) for number in call.arguments)

    def _pointer(self, number: int) -> str:
        kind = c_type(self._plan.values[number].dtype)
        if number in self._names:
            return f"(({kind} *){self._names[number]})"
        if number in self._constants:
            return f"(({kind} *)({self._name}_weights.bytes + {self._constants[number]}))"
        return f"(({kind} *)(arena + {self._arena.places[number]}))"


def _header(
    name: str,
    prototype: str,
    inputs: Sequence[TensorDescription],
    outputs: Sequence[TensorDescription],
    checks: Sequence[PlannedCheck],
    alignment: int,
) -> str:
    tensors = [
        f" * {word} {spec.name}: {c_type(spec.dtype)} {list(spec.shape)}"
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
            "/* Runs the model once; returns 0. Tensors are dense, rows of the last dimension, and",
            f" * start at multiples of {alignment} bytes.",
            *tensors,
            *(f" * returns {n}: {check.sentence}" for n, check in enumerate(checks, 1)),
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


def _weights(name: str, constants: np.ndarray, alignment: int) -> str:
    """Return a file with an array of bytes."""
    lines = [
        ", ".join(map(str, constants[start : start + _BYTES_A_LINE]))
        for start in range(0, len(constants), _BYTES_A_LINE)
    ]
    return "\n".join(
        [
            "#include <stdint.h>",
            "",
            f"{_aligned(alignment)}const {_bytes(len(constants))} {name}_weights = {{{{",
            *(f"{line}," for line in lines),
            "}};",
            "",
        ]
    )


def _bytes(size: int) -> str:
    """Return the type of so many bytes, aligned as the widest type is."""
    return f"union {{ uint8_t bytes[{size}]; double widest; }}"


def _aligned(alignment: int) -> str:
    """Return what gives an array a larger alignment; C99 has no word for it."""
    widest = 8
    if alignment <= widest:
        return ""
    return f"__attribute__((aligned({alignment})))\n"


def _makefile(name: str, code: CCode) -> str:
    objects = " ".join([f"{name}.o", f"{name}_weights.o", *code.objects])
    return (
        "# For a Cortex-M4F: make CC=arm-none-eabi-gcc AR=arm-none-eabi-ar \\\n"
        "#   CFLAGS='-O2 -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16'\n"
        "CFLAGS ?= -O2\n"
        "# Values of several types share memory.\n"
        "CFLAGS += -std=c99 -fno-strict-aliasing\n\n"
        f"lib{name}.a: {objects}\n\t$(AR) rcs $@ $^\n\n"
        f"{name}.o: {name}.h\n\n"
        f".PHONY: clean\nclean:\n\trm -f {name}.o {name}_weights.o lib{name}.a\n"
    )
