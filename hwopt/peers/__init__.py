"""Other ways to run a graph on this machine, to be measured beside an artefact.

>>> from hwopt import peers
>>> peers.available("torch")
True
"""

from hwopt.peers.quality import quality
from hwopt.peers.registry import PeerCall, Samples, available, install_hint, make, names

__all__ = ["PeerCall", "Samples", "available", "install_hint", "make", "names", "quality"]
