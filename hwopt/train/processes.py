"""Training with the data shared among processes, by torch's distributed engine."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn

from hwopt.errors import HwoptError


class ProcessGroup:
    """The processes that train one model together: those of torch's default group, or just this.

    Start them with ``torchrun`` and call ``torch.distributed.init_process_group("gloo")`` before
    ``hwopt.train.fit``, but after ``hwopt.import_model``: modules of torch that it loads would hold
    a group that is there already, and its threads may then abort the process as it ends.

    Each computes the gradients of its share of every batch; the mean of them is the same in all of
    them, and so are the weights after the step.

    Attributes:
        count: how many there are.
        rank: the number of this one, from 0 on.

    >>> processes = ProcessGroup()
    >>> processes.count, processes.rank, processes.share(torch.arange(4)).tolist()
    (1, 0, [0, 1, 2, 3])
    """

    def __init__(self) -> None:
        together = distributed.is_available() and distributed.is_initialized()
        self.count = distributed.get_world_size() if together else 1
        self.rank = distributed.get_rank() if together else 0

    def check(self, batch_size: int, samples: int) -> None:
        """Refuse batches that cannot be shared evenly.

        Raises:
            HwoptError: if there are too few samples, or they are too many for some.
        """
        if batch_size % self.count:
            raise HwoptError(
                f"batch_size is {batch_size}, which {self.count} processes cannot share evenly: "
                "choose a multiple"
            )
        if self.count > 1 and samples < batch_size:
            raise HwoptError(
                f"there are {samples} samples, not even a batch of {batch_size} for "
                f"{self.count} processes: choose smaller batches"
            )

    def share(self, samples: Tensor) -> Tensor:
        """Return those that this process computes."""
        return samples[self.rank :: self.count]

    def generator(self, seed: int) -> torch.Generator:
        """Return a generator whose numbers are others in every process."""
        return torch.Generator().manual_seed(seed + 7_368_787 * self.rank)

    def average(self, tensors: Iterable[Tensor | None]) -> None:
        """Replace tensors, float and there in all processes alike, by their means, in place."""
        present = [tensor for tensor in tensors if tensor is not None]
        if self.count == 1 or not present:
            return
        joined = torch.cat([tensor.detach().reshape(-1) for tensor in present])
        distributed.all_reduce(joined)
        joined /= self.count
        parts = joined.split([tensor.numel() for tensor in present])
        for tensor, part in zip(present, parts, strict=True):
            tensor.detach().copy_(part.view_as(tensor))

    def totals(self, *numbers: float) -> list[float]:
        """Return the sums over the processes."""
        if self.count == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64)
        distributed.all_reduce(sums)
        return sums.tolist()

    def begin_alike(self, model: nn.Module) -> None:
        """Give all processes the weights, masks and statistics of the first one."""
        if self.count > 1:
            for tensor in (*model.parameters(), *model.buffers()):
                # What is not contiguous cannot be sent.
                sent = tensor.detach().contiguous()
                distributed.broadcast(sent, 0)
                tensor.detach().copy_(sent)

    def end_alike(self, model: nn.Module) -> None:
        """Average what batch norms counted, and make sure that the weights are the same.

        Raises:
            HwoptError: if they are not, because a term or an optimizer did not do the same in all
                processes.
        """
        if self.count == 1:
            return
        self.average(buffer for buffer in model.buffers() if buffer.is_floating_point())
        weights = torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])
        first = weights.clone()
        distributed.broadcast(first, 0)
        (differing,) = self.totals(float(not torch.equal(weights, first)))
        if differing:
            raise HwoptError(
                "the weights are no longer the same in all processes: a term or an optimizer of "
                "your own must not depend on the process"
            )
