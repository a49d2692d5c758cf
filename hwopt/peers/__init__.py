"""Other ways to run a graph on this machine, to be measured beside an artefact.

>>> from hwopt import peers
>>> peers.available("torch")
True
"""

from hwopt.peers.accuracy import accuracy
from hwopt.peers.registry import PeerCall, Samples, available, install_hint, make, names

__all__ = ["PeerCall", "Samples", "accuracy", "available", "install_hint", "make", "names"]
