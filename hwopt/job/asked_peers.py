"""Which of a recipe's peers can be measured, and what is said of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwopt import peers

if TYPE_CHECKING:
    from hwopt.job.recipe import Common
    from hwopt.targets import Target


def measurable(recipe: Common, target: Target) -> list[str]:
    """Return the peers that are installed; they run on this machine only."""
    asked = recipe.peers if target.runner == "local" else ()
    return [peer for peer in asked if peers.available(peer)]


def missing(recipe: Common, target: Target) -> list[str]:
    """Say which peers are not measured, and why."""
    if target.runner != "local" and recipe.peers:
        return [f"peers were not measured: they run on this machine, not on {target.name}"]
    absent = [peer for peer in recipe.peers if not peers.available(peer)]
    return [f"{peer} was not measured: {peers.install_hint(peer)}" for peer in absent]
