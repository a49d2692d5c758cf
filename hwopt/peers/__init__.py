"""Other ways to run a graph on this machine, to be measured beside an artefact.

>>> from hwopt import peers
>>> peers.available("torch")
True
"""

from hwopt.peers.registry import Call, available, install_hint, make, names

__all__ = ["Call", "available", "install_hint", "make", "names"]
