"""Channels that must be removed together: found, scored, removed, their constants carried on."""

from hwopt.passes.channels.groups import ChannelGroup, find_groups
from hwopt.passes.channels.labels import ChannelLabels, Kept
from hwopt.passes.channels.ranking import Ranking
from hwopt.passes.channels.rules import label_channels

__all__ = ["ChannelGroup", "ChannelLabels", "Kept", "Ranking", "find_groups", "label_channels"]
