"""Optimizers of the theses behind hwopt, for any training loop of torch."""

from hwopt.optim.alig import ALIG
from hwopt.optim.alig_plus import ALIGPlus
from hwopt.optim.borat import BORAT
from hwopt.optim.cumulative_l1 import CumulativeL1, L1Clipping
from hwopt.optim.variance_reduced import VarianceReduced
from hwopt.optim.vcsg import VCSG

__all__ = ["ALIG", "BORAT", "VCSG", "ALIGPlus", "CumulativeL1", "L1Clipping", "VarianceReduced"]
