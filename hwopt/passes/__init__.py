"""Passes: graph to graph. See ``docs/writing-a-pass.md``.

The names are imported when they are first used.

>>> from hwopt import passes
>>> print(passes.PruneChannels(ratio=0.25))
prune-channels{ratio=0.25}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt import lazy

#: The passes of this room, by their classes: ``PruneChannels`` is ``prune-channels`` in text.
OWN = {
    "Abstain": "hwopt.passes.abstain",
    "Binarize": "hwopt.passes.binarize",
    "Condense": "hwopt.passes.condense",
    "EliminateDeadCode": "hwopt.passes.eliminate_dead_code",
    "EnforceIsometry": "hwopt.passes.enforce_isometry",
    "FoldAffine": "hwopt.passes.fold_affine",
    "FoldBatchNorm": "hwopt.passes.fold_batch_norm",
    "FoldConstants": "hwopt.passes.fold_constants",
    "FreezeBinary": "hwopt.passes.freeze_binary",
    "FuseLayers": "hwopt.passes.fuse_layers",
    "GiveAnswers": "hwopt.passes.give_answers",
    "PruneChannels": "hwopt.passes.prune_channels",
    "PruneWeights": "hwopt.passes.prune_weights",
    "ReestimateBatchNorm": "hwopt.passes.reestimate_batch_norm",
    "Route": "hwopt.passes.route",
    "ShareCodebook": "hwopt.passes.share_codebook",
    "SubstituteGlobalLayer": "hwopt.passes.substitute_global_layer",
    "SubstituteSpatialInterpolation": "hwopt.passes.substitute_spatial_interpolation",
    "SuppressBoxes": "hwopt.passes.suppress_boxes",
    "TakePixels": "hwopt.passes.take_pixels",
}

if TYPE_CHECKING:
    from hwopt.passes.abstain import Abstain as Abstain
    from hwopt.passes.base import BATCH_SIZE as BATCH_SIZE
    from hwopt.passes.base import Context as Context
    from hwopt.passes.base import Note as Note
    from hwopt.passes.base import Pass as Pass
    from hwopt.passes.base import PassResult as PassResult
    from hwopt.passes.binarize import Binarize as Binarize
    from hwopt.passes.condense import Condense as Condense
    from hwopt.passes.eliminate_dead_code import EliminateDeadCode as EliminateDeadCode
    from hwopt.passes.enforce_isometry import EnforceIsometry as EnforceIsometry
    from hwopt.passes.fold_affine import FoldAffine as FoldAffine
    from hwopt.passes.fold_batch_norm import FoldBatchNorm as FoldBatchNorm
    from hwopt.passes.fold_constants import FoldConstants as FoldConstants
    from hwopt.passes.freeze_binary import FreezeBinary as FreezeBinary
    from hwopt.passes.fuse_layers import FuseLayers as FuseLayers
    from hwopt.passes.give_answers import GiveAnswers as GiveAnswers
    from hwopt.passes.prune_channels import PruneChannels as PruneChannels
    from hwopt.passes.prune_weights import PruneWeights as PruneWeights
    from hwopt.passes.reestimate_batch_norm import ReestimateBatchNorm as ReestimateBatchNorm
    from hwopt.passes.registry import load_file as load_file
    from hwopt.passes.registry import names as names
    from hwopt.passes.registry import parse as parse
    from hwopt.passes.route import Route as Route
    from hwopt.passes.runner import PassError as PassError
    from hwopt.passes.runner import apply as apply
    from hwopt.passes.share_codebook import ShareCodebook as ShareCodebook
    from hwopt.passes.substitute_global_layer import SubstituteGlobalLayer as SubstituteGlobalLayer
    from hwopt.passes.substitute_spatial_interpolation import (
        SubstituteSpatialInterpolation as SubstituteSpatialInterpolation,
    )
    from hwopt.passes.suppress_boxes import SuppressBoxes as SuppressBoxes
    from hwopt.passes.take_pixels import TakePixels as TakePixels
else:
    __getattr__, __dir__, __all__ = lazy.attach(
        __name__,
        {
            **OWN,
            "BATCH_SIZE": "hwopt.passes.base",
            "Context": "hwopt.passes.base",
            "Note": "hwopt.passes.base",
            "Pass": "hwopt.passes.base",
            "PassError": "hwopt.passes.runner",
            "PassResult": "hwopt.passes.base",
            "apply": "hwopt.passes.runner",
            "load_file": "hwopt.passes.registry",
            "names": "hwopt.passes.registry",
            "parse": "hwopt.passes.registry",
        },
    )
