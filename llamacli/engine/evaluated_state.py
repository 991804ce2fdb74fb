"""What an engine has evaluated: kept beside its slots, taken in from outside, written out, saved and restored."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from llamacli.engine.chat.prompts import Prompting
from llamacli.engine.generation.contexts import Contexts
from llamacli.engine.generation.prompts.staged import StagedPrompt
from llamacli.engine.media.placeholders import without_placeholders
from llamacli.engine.runtime.exactness import identify_prompts
from llamacli.engine.runtime.mapping import map_shared
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.prompt_identity import CapturedPrompt, PromptIdentity

if TYPE_CHECKING:
    from llamacli.engine.media.encoder import MediaEncoder


class EvaluatedState(Prompting):
    """The part of an engine that hands out and takes in evaluated tokens, which are in its contexts."""

    def __init__(self, model: Model, contexts: Contexts, encoder: MediaEncoder | None = None) -> None:
        super().__init__(model, encoder)
        self.contexts = contexts

    @property
    def state(self) -> Contexts:
        """The evaluated state, to be saved and restored."""
        return self.contexts

    def keep_prefixes(self, capacity: int) -> None:
        """Keep evaluated prompts in up to `capacity` bytes of memory when others take their slots; 0 keeps none from now on."""
        self.contexts.keep_prefixes(capacity)

    @functools.cached_property
    def prompt_identity(self) -> PromptIdentity | None:
        """The identity of evaluated prompts that a later program may use; None if they cannot be kept."""
        return identify_prompts(self.model, self.contexts.params)

    def held_tokens(self, prompt: Sequence[int]) -> int:
        """Return how many tokens of a prompt need no evaluation any more."""
        return self.contexts.held(tuple(prompt))

    def stage_prompt(self, tokens: Sequence[int], file: IO[bytes], size: int) -> None:
        """Take in an evaluated prompt with the identity of this engine, for the next answer that starts like it.

        The file has its state in the first `size` bytes, and `state_layout.SPARE` zeros behind it.
        """
        self.model.vocabulary.check_ids(without_placeholders(tokens))
        form = self.prompt_identity.form if self.prompt_identity is not None else "rows"
        state = map_shared(file, os.fstat(file.fileno()).st_size)
        self.contexts.staged.put(StagedPrompt(tuple(tokens), state, size, form))

    def capture_prompt(self, prompt: Sequence[int], file: IO[bytes]) -> CapturedPrompt:
        """Write what is evaluated of a prompt and its answer to an empty file, and return what is there.

        The file stays empty if no token may be kept.
        """
        identity = self.prompt_identity
        if identity is None:
            return CapturedPrompt()

        def memory_of(size: int) -> memoryview:
            file.truncate(size)
            return map_shared(file, size)

        return self.contexts.capture_prompt(tuple(prompt), identity, memory_of)

    def save_state(self, path: Path) -> int:
        """Write the cache of the last answer and its prompt to a file (see `Contexts.save_state`); return the tokens."""
        return self.contexts.save_state(path)

    def load_state(self, path: Path) -> int:
        """Restore what `save_state` wrote (see `Contexts.load_state`); return the number of tokens."""
        return self.contexts.load_state(path)

    @property
    def cached_tokens(self) -> int:
        """Tokens of the last prompt and its answer in the cache."""
        return self.contexts.cached_tokens

    @property
    def state_bytes(self) -> int:
        """Approximate size of the file that `save_state` would write; 0 while there is nothing to save."""
        return self.contexts.state_bytes
