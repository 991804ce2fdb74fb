"""The identity of evaluated prompts, which decides whether another program may use them."""

from __future__ import annotations

from llamacli.values import dataclass


@dataclass(frozen=True, slots=True)
class PromptIdentity:
    """The identity of evaluated prompts. Those with equal fingerprints are interchangeable.

    `unit`: prompts are cut at multiples of so many tokens; with 1 anywhere. `keeps_answers`: what was generated is the same as
    what is read. `any_batch`: prompts that were evaluated beside others are the same, too. `token_bytes` is about the size of a
    token in the cache.
    """

    fingerprint: str
    unit: int
    keeps_answers: bool
    any_batch: bool
    token_bytes: int
