"""An evaluated prompt as bytes: the state of its sequence, and the checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llamacli.engine.generation.prompts.checkpoints import total_size
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.prompt_identity import CapturedPrompt, PromptIdentity

if TYPE_CHECKING:
    from llamacli.engine.generation.slots import Slots


def capture_prompt(
    context: Context,
    slots: Slots,
    prompt: tuple[int, ...],
    identity: PromptIdentity,
    memory_of: Callable[[int], memoryview],
) -> CapturedPrompt:
    """Write the state of the sequence that has most of a prompt, and its checkpoints, into memory.

    `memory_of` is called with the size. Nothing is written if no token may be kept.
    """
    slot, tokens, checkpoints = slots.evaluated(prompt, identity)
    if not tokens:
        return CapturedPrompt()
    size = context.sequence_bytes(slot)
    memory = memory_of(size + total_size(checkpoints))
    if not context.save_sequence_into(slot, memory[:size]):
        return CapturedPrompt()
    end = size
    for one in checkpoints:
        memory[end : end + len(one.state)] = one.state
        end += len(one.state)
    lengths = tuple((one.length, len(one.state)) for one in checkpoints)
    return CapturedPrompt(tokens, size, lengths, len(tokens) == len(slots.tokens_of(slot)))
