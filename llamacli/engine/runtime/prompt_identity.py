"""The identity of evaluated prompts, which decides whether another program may use them."""

from __future__ import annotations

from typing import Literal

from llamacli.values import dataclass

Form = Literal["rows", "rows and window", "rows and state", "state"]
"""What the state of a sequence has.

Rows of full attention, one for each token, can be cut at any token. The rest can be used after a certain token only: the window
of layers that attend to the last tokens, or the state of recurrent layers, beside the rows of others or alone.
"""


@dataclass(frozen=True, slots=True)
class CapturedPrompt:
    """What was written of an evaluated prompt: the state of its sequence in `size` bytes, then its checkpoints.

    `tokens` are those that may be kept. `checkpoints` are numbers of tokens after which the state was kept, and bytes.
    `has_end`: the state of the sequence itself is that after all tokens; otherwise it has more.
    """

    tokens: tuple[int, ...] = ()
    size: int = 0
    checkpoints: tuple[tuple[int, int], ...] = ()
    has_end: bool = False


@dataclass(frozen=True, slots=True)
class PromptIdentity:
    """The identity of evaluated prompts. Those with equal fingerprints are interchangeable.

    `unit`: prompts are cut at multiples of so many tokens; with 1 anywhere. `keeps_answers`: what was generated is the same as
    what is read. `any_batch`: prompts that were evaluated beside others are the same, too. `token_bytes` is about the size of a
    token in the cache. `form` is that of the states.
    """

    fingerprint: str
    unit: int
    keeps_answers: bool
    any_batch: bool
    token_bytes: int
    form: Form = "rows"
