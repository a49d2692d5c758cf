"""A compiled model with a memory: what it hands on from one call to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hwopt.compiler.arrays import as_numpy, like
from hwopt.errors import HwoptError, unknown_name

if TYPE_CHECKING:
    from hwopt.compiler.artifact import Artifact


class Stream:
    """Calls an artefact one step after the other.

    Inputs that are states are not given: the first call has zeros, each other what the call before
    returned. An artefact has as many streams as there are threads, or sequences, that want one; a
    stream is used by one of them at a time.

    Args:
        artifact: the model.
        states: from the name of an input to that of the output that it is next; None for those of
            the model, which a step does not return.

    Raises:
        HwoptError: if there is no such input or output, or shape or dtype differ.
    """

    def __init__(self, artifact: Artifact, states: Mapping[str, str] | None) -> None:
        self._artifact = artifact
        hidden = set(artifact.manifest.states.values()) if states is None else set()
        states = artifact.manifest.states if states is None else states
        inputs = {spec.name: spec for spec in artifact.manifest.inputs}
        outputs = {spec.name: spec for spec in artifact.manifest.outputs}
        for source, target in states.items():
            if source not in inputs:
                raise unknown_name("input", source, inputs)
            if target not in outputs:
                raise unknown_name("output", target, outputs)
            one, other = inputs[source], outputs[target]
            if (one.shape, one.dtype) != (other.shape, other.dtype):
                raise HwoptError(
                    f"output {target!r} is {other.dtype} {list(other.shape)}, input {source!r} "
                    f"{one.dtype} {list(one.shape)}: it cannot be its next state"
                )
        self._names = list(inputs)
        places = list(outputs)
        self._returned = [place for place, name in enumerate(places) if name not in hidden]
        self._after = {
            place: places.index(states[name]) for place, name in enumerate(inputs) if name in states
        }
        self._specs = list(inputs.values())
        self.reset()

    def reset(self) -> None:
        """Begin anew: all states are zero."""
        self._states = {
            place: np.zeros(self._specs[place].shape, self._specs[place].dtype)
            for place in self._after
        }

    def __call__(self, *inputs: Any) -> Any:
        """Run one step with the inputs that are no states; return the outputs.

        Raises:
            HwoptError: as the artefact does; the states are then as before.
        """
        wanted = [place for place in range(len(self._names)) if place not in self._after]
        if len(inputs) != len(wanted):
            names = ", ".join(self._names[place] for place in wanted)
            raise HwoptError(
                f"a step takes {len(wanted)} inputs ({names or 'none'}), not {len(inputs)}"
            )
        arrays = dict(zip(wanted, inputs, strict=True)) | self._states
        given = [
            one if isinstance(one, np.ndarray) else as_numpy(spec, one)
            for spec, one in zip(self._specs, map(arrays.get, range(len(arrays))), strict=True)
        ]
        found = self._artifact(*given)
        outputs = list(found) if isinstance(found, tuple) else [found]
        self._states = {place: outputs[after].copy() for place, after in self._after.items()}
        returned = [outputs[place] for place in self._returned]
        return like(inputs[0] if inputs else outputs[0], returned)
