"""A model in a child, and what it has evaluated: saved to files, and restored from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

from llamacli.backend.child import contract
from llamacli.backend.child.contract import EvaluatedPrompt, EvaluatedSize, OpenedModel
from llamacli.backend.child.process.child import Child
from llamacli.engine.runtime.prompt_identity import CapturedPrompt, PromptIdentity


class ChildState:
    """The evaluated state of a model in a child. A base of `ChildEngine`, which loads it."""

    _child: Child
    _opened: OpenedModel

    @property
    def state(self) -> Self:
        """The evaluated state."""
        return self

    def save_state(self, path: Path) -> int:
        """Write the cache of the last answer and its prompt to a file; return the tokens. Raises OSError."""
        from llamacli.engine.runtime import state_file

        with state_file.publish(path) as file:
            tokens: int = self._child.call(contract.SAVE_STATE, descriptors=[file.fileno()])
        return tokens

    def load_state(self, path: Path) -> int:
        """Restore what `save_state` wrote; return the number of tokens. Raises StateError, ContextFullError."""
        from llamacli.engine.runtime import state_file

        with state_file.open_state(path) as file:
            name = f"the saved state {path}"
            tokens: int = self._child.call(contract.LOAD_STATE, name, descriptors=[file.fileno()])
        return tokens

    @property
    def prompt_identity(self) -> PromptIdentity | None:
        """The identity of evaluated prompts that a later program may use; None if they cannot be kept."""
        return self._opened.prompts

    def held_tokens(self, prompt: Sequence[int]) -> int:
        """Return how many tokens of a prompt need no evaluation any more."""
        held: int = self._child.call(contract.HELD_TOKENS, tuple(prompt))
        return held

    def stage_prompt(self, tokens: Sequence[int], file: IO[bytes], size: int) -> None:
        """Hand over an evaluated prompt (see `Engine.stage_prompt`), whose state is in a file."""
        self._child.call(contract.STAGE_PROMPT, EvaluatedPrompt(tuple(tokens), size), descriptors=[file.fileno()])

    def capture_prompt(self, prompt: Sequence[int], file: IO[bytes]) -> CapturedPrompt:
        """Write what is evaluated of a prompt and its answer to an empty file, and return what is there."""
        captured: CapturedPrompt = self._child.call(contract.CAPTURE_PROMPT, tuple(prompt), descriptors=[file.fileno()])
        return captured

    @property
    def cached_tokens(self) -> int:
        """Tokens of the last prompt and its answer in the cache."""
        return self._state_size().cached_tokens

    @property
    def state_bytes(self) -> int:
        """Approximate size of the file that `save_state` would write; 0 while there is nothing to save."""
        return self._state_size().state_bytes

    def _state_size(self) -> EvaluatedSize:
        size: EvaluatedSize = self._child.call(contract.STATE_SIZE)
        return size
