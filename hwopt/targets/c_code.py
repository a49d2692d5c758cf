"""What the kernels of a model are for a program in C: text, and object files beside it."""

from __future__ import annotations

import dataclasses

from hwopt.errors import HwoptError

#: The pointer to the area that kernels use while they run; whoever calls them sets it.
SCRATCH = "scratch"
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


@dataclasses.dataclass(frozen=True)
class CKernel:
    """A kernel.

    Attributes:
        function: its name in C; it takes the addresses of its buffers.
        text: its definition, or its declaration.
        scratch_bytes: the size of the area that the pointer ``scratch`` must point to.
    """

    function: str
    text: str
    scratch_bytes: int


@dataclasses.dataclass(frozen=True)
class CCode:
    """The kernels of a model.

    Attributes:
        kernels: by the names of the plan.
        alignment: of all tensors, in bytes.
        preamble: text before the kernels; it may use ``scratch``.
        objects: files to be linked, by their names.
        code_bytes: of machine code, about.
    """

    kernels: dict[str, CKernel]
    alignment: int
    preamble: str
    objects: dict[str, bytes]
    code_bytes: int


def c_type(dtype: str) -> str:
    """Return C's name of a dtype.

    Raises:
        HwoptError: if it has none.

    >>> c_type("float32")
    'float'
    """
    if dtype not in C_TYPES:
        raise HwoptError(f"C has no type for the dtype {dtype}")
    return C_TYPES[dtype]
