"""Saved states of evaluation by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamacli.engine.runtime import state_file as states
from llamacli.units import format_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, repr=False)
class SavedState:
    """The result of `Llama.save_state`: the evaluated tokens, their KV cache, and the seed of later calls.

    `to_bytes` serializes tokens and cache.
    """

    state: states.State
    seed: int | None = None

    @property
    def tokens(self) -> tuple[int, ...]:
        """The evaluated tokens."""
        return self.state.tokens

    @property
    def n_tokens(self) -> int:
        """The number of evaluated tokens."""
        return len(self.state.tokens)

    @property
    def input_ids(self) -> npt.NDArray[np.intc]:
        """The evaluated tokens as an array."""
        import numpy as np

        return np.array(self.state.tokens, dtype=np.intc)

    @property
    def llama_state(self) -> bytes:
        """The KV cache, as llama.cpp serializes it."""
        return self.state.payload

    @property
    def llama_state_size(self) -> int:
        """The bytes of the KV cache."""
        return len(self.state.payload)

    def to_bytes(self) -> bytes:
        """Serialize the state with a checksum and a fingerprint of the model, which `load_state` verifies."""
        return states.pack(self.state)

    @staticmethod
    def from_bytes(data: bytes) -> SavedState:
        """Deserialize what `to_bytes` returned.

        Raises:
            StateError: if it is something else, truncated or altered.
        """
        return SavedState(states.unpack(data))

    def __repr__(self) -> str:
        return f"<SavedState of {self.n_tokens} tokens, {format_bytes(self.llama_state_size)}>"
