"""``distill``: learn from the network before the passes, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hwopt.errors import HwoptError
from hwopt.job.keys.base import Beginning, VariantKey

if TYPE_CHECKING:
    from hwopt.job.recipe import Recipe
    from hwopt.train import Term


class Distillation(VariantKey):
    """Arguments of ``hwopt.train.SelfDistillation``; the teacher is the network before passes.

    With the form ``blocks`` they are those of ``hwopt.train.BlockDistillation``.
    """

    changes_loss: ClassVar[bool] = True

    form: Literal["attention", "cross-correlation", "cosine", "kl", "mse", "blocks"] = (
        "cross-correlation"
    )
    share: float = Field(default=0.5, ge=0, le=1)
    layer: str | tuple[str, ...] | None = None

    def check(self, name: str, recipe: Recipe, where: str) -> None:
        """Refuse a layer where the form finds its layers, and none where it cannot."""
        if self.form == "blocks" and self.layer:
            raise HwoptError(
                f"{where}: distill.form blocks finds its layers itself: leave layer out"
            )
        if self.form == "attention" and not self.layer:
            raise HwoptError(
                f"{where}: distill.form attention needs layers that read images or sequences: give "
                "layer, such as a convolution in the middle, or several"
            )

    def term(self, beginning: Beginning) -> Term:
        """Return the distillation, with a teacher of its own."""
        from hwopt.train import BlockDistillation, SelfDistillation, substituted_places

        base = beginning.base
        assert base is not None
        if self.form == "blocks":
            places = substituted_places(beginning.graph, base)
            return BlockDistillation(base.to_torch(), places, self.share)
        return SelfDistillation(base.to_torch(), self.form, self.share, self.layer)
