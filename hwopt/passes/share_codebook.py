"""``share-codebook``: few distinct values for every layer, stored as short codes."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.cluster.vq import kmeans2

from hwopt.errors import HwoptError
from hwopt.passes.base import Context, Note, Pass, PassResult
from hwopt.passes.layers import is_chosen, notes_on_binary, notes_on_unknown, weights

if TYPE_CHECKING:
    from hwopt.graph import Graph


@dataclass(frozen=True)
class ShareCodebook(Pass):
    """Replace the weights of every layer by the 2^bits values of a codebook, found by k-means.

    Files hold the codebook and a code a weight. Where it is measured to be faster, the kernel of a
    linear layer looks codes up (``hwopt.targets.templates.codebook``); all other weights are
    decoded when the artefact is loaded, and stored deflated where that saves a fifth. Training
    changes the values and keeps equal ones equal. Zeros stay zeros and have no code. Batch norms
    are folded first or stay: apply ``fold-batch-norm`` before, for a folded scale gives every
    channel values of its own. Source: Han et al. 2016 (k-means from evenly spaced values), a
    baseline of O'Neill et al. 2020.

    Options:
        bits: of a code, 1 to 8.
        steps: of k-means.
        layers: only layers whose name begins with one of these; all if empty.
        exclude: not those whose name begins with one of these.

    Raises:
        HwoptError: if an option is out of range.

    >>> str(ShareCodebook(bits=4))
    'share-codebook{bits=4}'
    """

    name = "share-codebook"

    bits: int = 8
    steps: int = 30
    layers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.bits <= 8:
            raise HwoptError(f"pass {self.name}: bits must be from 1 to 8, not {self.bits}")
        if self.steps < 1:
            raise HwoptError(f"pass {self.name}: steps must be at least 1, not {self.steps}")

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the graph with codebooks in place of weights."""
        result, names = graph.copy(), weights(graph)
        notes = notes_on_unknown((*self.layers, *self.exclude), names) + notes_on_binary(graph)
        for name in names:
            if not is_chosen(name, self.layers, self.exclude):
                continue
            tensor = graph.parameter(name)
            shared = self._clustered(tensor)
            count = len(shared[shared != 0].unique())
            if name in graph.codebooks and torch.equal(shared, tensor):
                notes.append(Note(name, f"has {count} values already", changed=False))
                continue
            result.set_parameter(name, shared)
            result.set_codebook(name)
            error = float((shared - tensor).norm() / tensor.norm().clamp(min=1e-12))
            message = f"{count} values besides zero, {error:.2%} of the norm away"
            notes.append(Note(name, message, changed=True))
        modified = any(note.changed for note in notes)
        return PassResult(result if modified else graph, modified, tuple(notes))

    def candidates(self, graph: Graph, context: Context) -> list[Pass]:
        """Return this pass with 8, 6, 5 and 4 bits, where they change something."""
        instances = [dataclasses.replace(self, bits=bits) for bits in (8, 6, 5, 4)]
        return [one for one in instances if one.apply(graph, context).modified]

    def _clustered(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor with every value but zero replaced by the mean of its cluster."""
        used = tensor != 0
        values = tensor[used].double().numpy()
        entries = 2**self.bits - (1 if self.bits == 8 else 0)  # with zero, 256 values at most
        if len(np.unique(values)) <= entries:
            return tensor
        centres = np.linspace(values.min(), values.max(), entries)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an entry that nothing is near to stays
            centres, codes = kmeans2(values, centres, iter=self.steps, minit="matrix")
        result = torch.zeros_like(tensor)
        result[used] = torch.from_numpy(centres[codes]).to(tensor.dtype)
        return result
