"""Optimizers of the theses behind hwopt, for any training loop of torch."""

from hwopt.optim.alig import ALIG
from hwopt.optim.alig_plus import ALIGPlus
from hwopt.optim.borat import BORAT

__all__ = ["ALIG", "BORAT", "ALIGPlus"]
