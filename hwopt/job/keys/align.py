"""``align``: stay near to the weights of the network before the passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hwopt.job.keys.base import Beginning, VariantKey

if TYPE_CHECKING:
    from hwopt.train import Term


class Align(VariantKey):
    """Arguments of ``hwopt.train.Alignment``; the reference is the network before passes."""

    changes_loss: ClassVar[bool] = True

    form: Literal["cosine", "frobenius"] = "cosine"
    strength: float = Field(default=1.0, ge=0)
    surviving: bool = False

    def term(self, beginning: Beginning) -> Term:
        """Return the alignment of masked weights."""
        from hwopt.train import Alignment

        assert beginning.base is not None
        masks, references = dict(beginning.graph.masks), dict(beginning.base.parameters)
        return Alignment(masks, references, **self.model_dump())
