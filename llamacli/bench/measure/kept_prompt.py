"""A prompt that was evaluated before: what the prompt cache does for it, from memory in place of the disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from llamacli.backend.nameless_file import nameless_file
from llamacli.backend.prompt_states import CapturedStates, joined
from llamacli.engine.chat.prompt import Prompt
from llamacli.engine.chat.turn import text_turn
from llamacli.engine.engine import Engine
from llamacli.engine.generation.prompts.prefix_cache import common_length
from llamacli.engine.params import GenerationParams
from llamacli.engine.runtime.mapping import map_shared
from llamacli.engine.runtime.prompt_identity import Form
from llamacli.errors import StateError, UsageError
from llamacli.store.prompt_cache import BLOCK
from llamacli.store.prompt_cache.block_file import Block

_READ = GenerationParams(max_tokens=0)
_OTHER = "."
"""A prompt that takes the place of the kept one in the engine."""


class KeptPrompt:
    """A prompt that an engine has evaluated, and does not have in memory any more.

    Raises (when built):
        UsageError: if it cannot be kept.
    """

    def __init__(self, engine: Engine, prompt: Prompt) -> None:
        identity = engine.prompt_identity
        if identity is None:
            raise UsageError("prompts cannot be kept with these parameters", parameter="prompt_cache")
        if len(prompt.tokens) <= BLOCK:
            raise UsageError(f"the prompt cache keeps prompts of more than {BLOCK} tokens", parameter="n_prompt")
        self._engine, self._form = engine, identity.form
        _read(engine, prompt)
        with nameless_file() as file:
            captured = engine.capture_prompt(prompt.tokens, file)
            size = os.fstat(file.fileno()).st_size
            states = CapturedStates(identity.form, captured, map_shared(file, size))
            end = common_length(captured.tokens, prompt.tokens)
            if identity.form != "rows":
                end = max(length for length in states.lengths if length <= end)
            self._tokens = prompt.tokens[:end]
            self._blocks = [(block, _digest(block)) for block in _cut(states, identity.form, end)]
        _read(engine, engine.text_prompt(_OTHER))

    def restore(self) -> None:
        """Verify what is kept, put it together, and hand it to the engine. Raises StateError."""
        blocks = [block for block, _ in self._blocks]
        if any(_digest(block) != digest for block, digest in self._blocks):
            raise StateError("a kept prompt is damaged")
        with joined(blocks, self._form) as (file, size):
            self._engine.stage_prompt(self._tokens, file, size)


def _read(engine: Engine, prompt: Prompt) -> None:
    """Have an engine evaluate a prompt."""
    for _ in engine.answer(text_turn(prompt), _READ):
        pass


def _cut(states: CapturedStates, form: Form, end: int) -> Iterator[Block]:
    """Yield the blocks of the first `end` tokens, as they are kept on disk."""
    last = (end - 1) // BLOCK * BLOCK
    for start in range(0, last, BLOCK) if form != "state" else ():
        yield _whole(states.block(start, start + BLOCK))
    yield _whole(states.block(last, end) if form == "rows" else states.state(last, end))


def _whole(block: Block) -> Block:
    return Block(block.tokens, block.layout, (b"".join(block.payload),))


def _digest(block: Block) -> bytes:
    return hashlib.sha256(block.payload[0]).digest()
