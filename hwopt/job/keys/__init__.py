"""The keys of a recipe that say more than a value: one file each, with all that belongs to it."""

from hwopt.job.keys.align import Align
from hwopt.job.keys.base import Beginning, Share, Strict, TrainingKey, VariantKey, one_of
from hwopt.job.keys.binary import Binary
from hwopt.job.keys.budget import Budget
from hwopt.job.keys.constraints import Constraints
from hwopt.job.keys.distill import Distillation
from hwopt.job.keys.limits import Limits
from hwopt.job.keys.penalty import Penalty
from hwopt.job.keys.route import Routing

__all__ = [
    "Align",
    "Beginning",
    "Binary",
    "Budget",
    "Constraints",
    "Distillation",
    "Limits",
    "Penalty",
    "Routing",
    "Share",
    "Strict",
    "TrainingKey",
    "VariantKey",
    "one_of",
]
