"""What a pass is: options, conditions, a result with notes, and candidates."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from hwopt.errors import check_choice
from hwopt.option_text import format_options, parse_options, split_pipeline
from hwopt.tasks import Classification, Task

if TYPE_CHECKING:
    import torch

    from hwopt.graph import Graph

#: Samples of a batch that hwopt gives to passes.
BATCH_SIZE = 128


@dataclass(frozen=True)
class Note:
    """One remark of a pass: what was changed, or what was not and why."""

    node: str
    message: str
    changed: bool

    def __str__(self) -> str:
        return f"{'changed' if self.changed else 'kept'} {self.node}: {self.message}"


@dataclass(frozen=True)
class PassResult:
    """What ``apply`` returns.

    Attributes:
        graph: the new graph, or the input itself if nothing was modified.
        modified: whether the graph is another one than the input.
        notes: what was changed and what could not be, each with the reason.
    """

    graph: Graph
    modified: bool
    notes: tuple[Note, ...] = ()


@dataclass
class Context:
    """What a pass may ask for.

    Attributes:
        batches: returns an iterable of :class:`hwopt.data.Batch`; None if there is no data.
        task: what the network is for, by which criteria with data judge.
        latency: returns the median latencies of graphs in ms, measured side by side in one run on
            the target; None if nothing can be measured.
        vector_length: float32 numbers in a vector register of the target; None if no target is
            known.
        seed: seed of ``generator()``.
        debug: check that passes do not change their input and preserve what they say they do; on
            where the environment has ``HWOPT_DEBUG``.
        notes: what passes remarked so far: (name of the pass, note).
    """

    batches: Callable[[], Iterable[tuple[Any, Any]]] | None = None
    task: Task = field(default_factory=Classification)
    latency: Callable[[Sequence[Graph]], list[float]] | None = None
    vector_length: int | None = None
    seed: int = 0
    debug: bool = field(default_factory=lambda: bool(os.environ.get("HWOPT_DEBUG")))
    notes: list[tuple[str, Note]] = field(default_factory=list)

    def generator(self) -> torch.Generator:
        """Return a new random generator with the context's seed."""
        import torch

        return torch.Generator().manual_seed(self.seed)

    def remarks(self) -> list[str]:
        """Return the notes as text, each with the name of its pass."""
        return [f"{name}: {note}" for name, note in self.notes]


#: What a search chooses along one dimension: a number, or a text.
OptionValue = int | float | str
#: From the share of something that is gone at the end to the share gone after every round.
Spread = Callable[[float], list[float]]


@dataclass(frozen=True)
class Pass:
    """Base of all passes: a frozen dataclass whose fields are the options.

    Class attributes:
        name: the name in text and in the entry point.
    """

    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Refuse words that are none of those offered; passes that check more call it.

        Raises:
            HwoptError: if the value of an option with a ``Literal`` type is another.
        """
        for option, expected in get_type_hints(type(self)).items():
            if get_origin(expected) is Literal:
                kind, value = f"pass {self.name}: {option}", getattr(self, option)
                check_choice(kind, value, get_args(expected))

    # Properties, so that they may depend on the options of a pass; an attribute does as well.

    @property
    def preserves_function(self) -> bool:
        """Whether the outputs stay equal, up to rounding, in eval mode."""
        return False

    @property
    def changes_interface(self) -> bool:
        """Whether the graph takes or returns something else afterwards, as devices need it."""
        return False

    @property
    def needs_data(self) -> bool:
        """Whether ``context.batches`` must be there."""
        return False

    @property
    def needs_latency(self) -> bool:
        """Whether ``context.latency`` must be there."""
        return False

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that options name: a job does its work again when what is in them changes."""
        return ()

    def requires(self, graph: Graph) -> str | None:
        """Return why this pass cannot begin with a graph, for its user to mend; None if it can."""
        return None

    def ensures(self, graph: Graph) -> str | None:
        """Return what a graph lacks of what this pass promises of its result; None if nothing."""
        return None

    def apply(self, graph: Graph, context: Context) -> PassResult:
        """Return the transformed graph; ``graph`` itself is never changed."""
        raise NotImplementedError(f"pass {type(self).__name__} defines no apply")

    def candidates(self, graph: Graph, context: Context) -> list[Pass]:
        """Return the instances of this pass that would change ``graph``, for a search to try."""
        return [self] if self.apply(graph, context).modified else []

    def dimensions(
        self, graph: Graph, context: Context, levels: int = 8
    ) -> dict[str, tuple[OptionValue, ...]]:
        """Return what a search can choose of this pass: values by name, "nothing done" first.

        One choice among the candidates, unless a pass has choices that are independent.

        Args:
            graph: what the search begins with.
            context: as for ``apply``.
            levels: values of a dimension that has many, at the most.
        """
        texts = tuple(str(one) for one in self.candidates(graph, context))
        return {self.name: ("", *texts)} if texts else {}

    def at(self, point: Mapping[str, OptionValue]) -> Pass | None:
        """Return the instance for the values that a search chose; None if it does nothing.

        Args:
            point: values by the names of :meth:`dimensions`; those of other passes are there, too.
        """
        found = list(split_pipeline(str(point.get(self.name, ""))))
        return parse_options(type(self), found[0][1], f"pass {self.name}") if found else None

    def in_rounds(self, spread: Spread) -> list[Pass]:
        """Return the instance of every round, if this pass is to do its work bit by bit.

        A pass that removes a share of something overrides it; any other is the same in all rounds.

        Args:
            spread: from the share that is gone at the end to that after every round.
        """
        return [self] * len(spread(0.0))

    def options(self) -> dict[str, Any]:
        """Return the options by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def __str__(self) -> str:
        return format_options(self.name, self)
