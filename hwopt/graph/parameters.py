"""The named tensors of a graph: which are trained, and which weights are held at zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from hwopt.errors import unknown_name

#: Of a codebook: as many as one byte tells apart.
MOST_ENTRIES = 256


class ParameterStore(Mapping[str, torch.Tensor]):
    """Tensors by name, in the order in which they were set.

    A mask says which values of a parameter are used. The others are zero, and stay zero whatever is
    set and whatever an optimizer does.

    >>> store = ParameterStore()
    >>> store.set("w", torch.tensor([1.0, 2.0]))
    >>> store.set_mask("w", torch.tensor([True, False]))
    >>> store.set("w", torch.tensor([3.0, 4.0]))
    >>> store["w"]
    tensor([3., 0.])
    """

    def __init__(self) -> None:
        self._tensors: dict[str, torch.Tensor] = {}
        self._buffers: set[str] = set()
        self._frozen: set[str] = set()
        self._masks: dict[str, torch.Tensor] = {}
        self._codebooks: set[str] = set()

    def __getitem__(self, name: str) -> torch.Tensor:
        """Return a tensor; it must never be written to.

        Raises:
            HwoptError: if there is none; the nearest name is given.
        """
        if name not in self._tensors:
            raise unknown_name("parameter", name, self._tensors)
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    @property
    def masks(self) -> Mapping[str, torch.Tensor]:
        """The masks by the parameter's name: bool, of the parameter's shape."""
        return dict(self._masks)

    def is_trainable(self, name: str) -> bool:
        """Say whether training changes the parameter (running statistics are not trained)."""
        return name not in self._buffers and name not in self._frozen

    def is_buffer(self, name: str) -> bool:
        """Say whether the parameter is no weight, such as running statistics."""
        return name in self._buffers

    def is_frozen(self, name: str) -> bool:
        """Say whether the parameter is a weight that training does not change."""
        return name in self._frozen

    def set(
        self,
        name: str,
        tensor: torch.Tensor,
        *,
        trainable: bool | None = None,
        frozen: bool | None = None,
        mask: torch.Tensor | None = None,
    ) -> None:
        """Set a tensor; what is not given stays as it was: a mask, whether it is trained.

        ``trainable`` tells weights from buffers; those that are ``frozen`` are weights all the
        same, which are pruned and counted.

        Raises:
            ValueError: if the parameter has a mask of another shape and no new one is given.
        """
        if trainable is None:
            trainable = name not in self._buffers
        if mask is None:
            mask = self._masks.get(name)
        self._tensors[name] = tensor.detach()
        if name in self._codebooks and len(tensor.unique()) > MOST_ENTRIES:
            self._codebooks.discard(name)  # something else than a codebook has been set
        (self._buffers.discard if trainable else self._buffers.add)(name)
        if frozen is not None:
            (self._frozen.add if frozen else self._frozen.discard)(name)
        self.set_mask(name, mask)

    def set_mask(self, name: str, mask: torch.Tensor | None) -> None:
        """Hold a parameter at zero where ``mask`` is false; None lets all of it be used.

        Raises:
            ValueError: if the shapes differ.
        """
        if mask is None:
            self._masks.pop(name, None)
            return
        tensor = self[name]
        if mask.shape != tensor.shape:
            raise ValueError(
                f"parameter {name!r} has the shape {tuple(tensor.shape)}, its mask "
                f"{tuple(mask.shape)}: give a mask that fits"
            )
        self._masks[name] = mask.detach().bool()
        self._tensors[name] = torch.where(self._masks[name], tensor, torch.zeros_like(tensor))

    @property
    def codebooks(self) -> frozenset[str]:
        """Parameters with few distinct values, which training changes but does not separate."""
        return frozenset(self._codebooks)

    def set_codebook(self, name: str, on: bool) -> None:
        """State that equal values of a parameter are one entry of a codebook, or not any more.

        Raises:
            ValueError: if the parameter has more than 256 distinct values.
        """
        if not on:
            self._codebooks.discard(name)
            return
        count = len(self[name].unique())
        if count > MOST_ENTRIES:
            raise ValueError(f"parameter {name!r} has {count} distinct values, not {MOST_ENTRIES}")
        self._codebooks.add(name)

    def remove(self, name: str) -> None:
        """Remove a tensor and what is known of it."""
        del self._tensors[name]
        self._buffers.discard(name)
        self._frozen.discard(name)
        self._masks.pop(name, None)
        self._codebooks.discard(name)

    def copy(self) -> ParameterStore:
        """Return a store of its own that shares the tensors."""
        other = ParameterStore()
        other._tensors = dict(self._tensors)
        other._buffers = set(self._buffers)
        other._frozen = set(self._frozen)
        other._masks = dict(self._masks)
        other._codebooks = set(self._codebooks)
        return other
