"""Training: a small loop with checkpoints and resume, and evaluation.

The names are looked up when they are first used, so that importing this package does not import
torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwopt.train.alignment import Alignment
    from hwopt.train.augment import flip, shift, shift_and_flip
    from hwopt.train.binary import BinaryPull
    from hwopt.train.binary_baselines import Bop, StraightThrough, TanhAnnealing
    from hwopt.train.block_distillation import BlockDistillation, substituted_places
    from hwopt.train.channel_slices import ChannelSlices
    from hwopt.train.constrained import Constrained
    from hwopt.train.distillation import SelfDistillation
    from hwopt.train.evaluation import Evaluation, evaluate
    from hwopt.train.history import EpochStats, History
    from hwopt.train.loop import fit
    from hwopt.train.penalties import L1Penalty
    from hwopt.train.rounds import fit_in_rounds, remove_rounds
    from hwopt.train.terms import Term

__all__ = [
    "Alignment",
    "BinaryPull",
    "BlockDistillation",
    "Bop",
    "ChannelSlices",
    "Constrained",
    "EpochStats",
    "Evaluation",
    "History",
    "L1Penalty",
    "SelfDistillation",
    "StraightThrough",
    "TanhAnnealing",
    "Term",
    "evaluate",
    "fit",
    "fit_in_rounds",
    "flip",
    "remove_rounds",
    "shift",
    "shift_and_flip",
    "substituted_places",
]

_MODULES = {
    "Alignment": "alignment",
    "BinaryPull": "binary",
    "BlockDistillation": "block_distillation",
    "Bop": "binary_baselines",
    "ChannelSlices": "channel_slices",
    "Constrained": "constrained",
    "EpochStats": "history",
    "Evaluation": "evaluation",
    "History": "history",
    "L1Penalty": "penalties",
    "SelfDistillation": "distillation",
    "StraightThrough": "binary_baselines",
    "TanhAnnealing": "binary_baselines",
    "Term": "terms",
    "evaluate": "evaluation",
    "fit": "loop",
    "fit_in_rounds": "rounds",
    "remove_rounds": "rounds",
    "flip": "augment",
    "shift": "augment",
    "shift_and_flip": "augment",
    "substituted_places": "block_distillation",
}


def __getattr__(name: str) -> Any:
    """Import the module that defines ``name``."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
