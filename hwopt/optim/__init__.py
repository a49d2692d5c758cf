"""Optimizers of the theses behind hwopt, for any training loop of torch.

The names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt import lazy

if TYPE_CHECKING:
    from hwopt.optim.alig import ALIG as ALIG
    from hwopt.optim.alig_plus import ALIGPlus as ALIGPlus
    from hwopt.optim.behaviour import Behaviour as Behaviour
    from hwopt.optim.behaviour import TrainingFacts as TrainingFacts
    from hwopt.optim.borat import BORAT as BORAT
    from hwopt.optim.cumulative_l1 import CumulativeL1 as CumulativeL1
    from hwopt.optim.cumulative_l1 import L1Clipping as L1Clipping
    from hwopt.optim.variance_reduced import VarianceReduced as VarianceReduced
    from hwopt.optim.vcsg import VCSG as VCSG
else:
    __getattr__, __dir__, __all__ = lazy.attach(
        __name__,
        {
            "ALIG": "hwopt.optim.alig",
            "ALIGPlus": "hwopt.optim.alig_plus",
            "BORAT": "hwopt.optim.borat",
            "Behaviour": "hwopt.optim.behaviour",
            "CumulativeL1": "hwopt.optim.cumulative_l1",
            "L1Clipping": "hwopt.optim.cumulative_l1",
            "TrainingFacts": "hwopt.optim.behaviour",
            "VCSG": "hwopt.optim.vcsg",
            "VarianceReduced": "hwopt.optim.variance_reduced",
        },
    )
