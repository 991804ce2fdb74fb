"""Draft models: guesses of the next tokens, which are evaluated together and checked by sampling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class LlamaDraftModel(ABC):
    """A maker of guesses."""

    @abstractmethod
    def __call__(self, input_ids: npt.NDArray[np.intc], /, **kwargs: Any) -> npt.NDArray[np.intc]:
        """Return a guess of the tokens after `input_ids`, or an empty array."""


class LlamaPromptLookupDecoding(LlamaDraftModel):
    """Guesses that the text goes on as it did after an earlier place with the same last tokens.

    See Saxena, "Prompt lookup decoding", 2023. `max_ngram_size`: the last tokens to look for, at most; `num_pred_tokens`: the
    tokens of a guess, at most.
    """

    def __init__(self, max_ngram_size: int = 2, num_pred_tokens: int = 10) -> None:
        self.max_ngram_size = max_ngram_size
        self.num_pred_tokens = num_pred_tokens

    @staticmethod
    def find_candidate_pred_tokens(
        input_ids: npt.NDArray[np.intc], max_ngram_size: int, num_pred_tokens: int
    ) -> npt.NDArray[np.intc]:
        """Return the tokens after the first earlier place of the longest run of last tokens that has one."""
        import numpy as np

        length = len(input_ids)
        for size in range(min(max_ngram_size, length - 1), 0, -1):
            runs = np.lib.stride_tricks.sliding_window_view(input_ids, size)
            places = np.flatnonzero((runs == input_ids[-size:]).all(axis=1))
            starts = places[places + size < length] + size
            if len(starts):
                return input_ids[starts[0] : starts[0] + num_pred_tokens]
        return np.array([], dtype=np.intc)

    def __call__(self, input_ids: npt.NDArray[np.intc], /, **kwargs: Any) -> npt.NDArray[np.intc]:
        """See `LlamaDraftModel`."""
        return self.find_candidate_pred_tokens(input_ids, self.max_ngram_size, self.num_pred_tokens)
