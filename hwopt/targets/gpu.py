"""Whether this machine has a GPU."""

from __future__ import annotations

#: What stands in the way where there is none.
NO_GPU = "this machine has no NVIDIA GPU that TVM can use: models can be compiled, not run here"


def is_there() -> bool:
    """Return whether TVM finds an NVIDIA GPU, with its driver, on this machine.

    >>> is_there() in (True, False)
    True
    """
    import tvm

    return bool(tvm.cuda(0).exist)
