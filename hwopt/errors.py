"""The one error type that users see, and help for mistyped names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: How a message ends where not the user, but this package is wrong.
FAULT = "this is a fault of hwopt, please report it"


class HwoptError(Exception):
    """Something the user can mend: one sentence that says what, where and what to do.

    The command line prints the sentence without a traceback and exits with code 2.
    """


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> HwoptError:
    """Return the error for a ``name`` that is not among the ``valid`` ones, with the nearest.

    >>> print(unknown_name("pass", "prune-chanels", ["fold-batch-norm", "prune-channels"]))
    unknown pass 'prune-chanels': did you mean 'prune-channels'? (valid: fold-batch-norm, \
prune-channels)
    """
    names = sorted(valid)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return HwoptError(f"unknown {kind} {name!r}: {hint}(valid: {', '.join(names) or 'none'})")


def first_line(error: BaseException) -> str:
    """Return the first line of what another package says; its type where it says nothing.

    >>> first_line(ValueError("a shape is wrong\\nin detail ...")), first_line(ValueError())
    ('a shape is wrong', 'ValueError')
    """
    return _lines(error)[0]


def last_line(error: BaseException) -> str:
    """Return the last line of what another package says, where a trace comes first.

    >>> last_line(ValueError("  in layer 1\\na shape is wrong\\n"))
    'a shape is wrong'
    """
    return _lines(error)[-1]


def _lines(error: BaseException) -> list[str]:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines or [type(error).__name__]


def check_same_names(kind: str, given: Iterable[str], valid: Iterable[str]) -> None:
    """Check that names are those that there are, all of them, in any order.

    Raises:
        HwoptError: if one is unknown, or missing.
    """
    found, names = set(given), list(valid)
    for name in found - set(names):
        raise unknown_name(kind, name, names)
    for name in names:
        if name not in found:
            raise HwoptError(f"{kind} {name!r} is missing: give {', '.join(names)}")


def check_choice(kind: str, name: str, valid: Iterable[str]) -> None:
    """Refuse a ``name`` that is not among the ``valid`` ones.

    Raises:
        HwoptError: with the nearest valid name.

    >>> check_choice("form", "kl", ["kl", "mse"])
    """
    names = list(valid)
    if name not in names:
        raise unknown_name(kind, str(name), names)
