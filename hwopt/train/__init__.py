"""Training: a small loop with checkpoints and resume, and evaluation.

The names are imported when they are first used, so that importing this package does not import
torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt import lazy

if TYPE_CHECKING:
    from hwopt.train.alignment import Alignment as Alignment
    from hwopt.train.augment import flip as flip
    from hwopt.train.augment import shift as shift
    from hwopt.train.augment import shift_and_flip as shift_and_flip
    from hwopt.train.binary import BinaryPull as BinaryPull
    from hwopt.train.binary_baselines import Bop as Bop
    from hwopt.train.binary_baselines import StraightThrough as StraightThrough
    from hwopt.train.binary_baselines import TanhAnnealing as TanhAnnealing
    from hwopt.train.block_distillation import BlockDistillation as BlockDistillation
    from hwopt.train.block_distillation import substituted_places as substituted_places
    from hwopt.train.channel_slices import ChannelSlices as ChannelSlices
    from hwopt.train.constrained import Constrained as Constrained
    from hwopt.train.distillation import SelfDistillation as SelfDistillation
    from hwopt.train.evaluation import Evaluation as Evaluation
    from hwopt.train.evaluation import evaluate as evaluate
    from hwopt.train.history import EpochStats as EpochStats
    from hwopt.train.history import History as History
    from hwopt.train.loop import fit as fit
    from hwopt.train.penalties import L1Penalty as L1Penalty
    from hwopt.train.rounds import fit_in_rounds as fit_in_rounds
    from hwopt.train.rounds import remove_rounds as remove_rounds
    from hwopt.train.terms import Term as Term
else:
    __getattr__, __dir__, __all__ = lazy.attach(
        __name__,
        {
            "Alignment": "hwopt.train.alignment",
            "BinaryPull": "hwopt.train.binary",
            "BlockDistillation": "hwopt.train.block_distillation",
            "Bop": "hwopt.train.binary_baselines",
            "ChannelSlices": "hwopt.train.channel_slices",
            "Constrained": "hwopt.train.constrained",
            "EpochStats": "hwopt.train.history",
            "Evaluation": "hwopt.train.evaluation",
            "History": "hwopt.train.history",
            "L1Penalty": "hwopt.train.penalties",
            "SelfDistillation": "hwopt.train.distillation",
            "StraightThrough": "hwopt.train.binary_baselines",
            "TanhAnnealing": "hwopt.train.binary_baselines",
            "Term": "hwopt.train.terms",
            "evaluate": "hwopt.train.evaluation",
            "fit": "hwopt.train.loop",
            "fit_in_rounds": "hwopt.train.rounds",
            "flip": "hwopt.train.augment",
            "remove_rounds": "hwopt.train.rounds",
            "shift": "hwopt.train.augment",
            "shift_and_flip": "hwopt.train.augment",
            "substituted_places": "hwopt.train.block_distillation",
        },
    )
