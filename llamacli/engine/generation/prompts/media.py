"""Pictures and sounds in prompts: their embeddings take the place of tokens in a batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from llamacli.engine.generation.request import Request
from llamacli.engine.runtime.context import Context
from llamacli.errors import CapacityError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.generation.sequence import Sequence
    from llamacli.engine.generation.slots import Slots
    from llamacli.engine.media.encoder import Chunk, MediaEncoder


class MediaPrompts:
    """The embeddings in the prompts of a context. `encoder` is None for models that take text only."""

    def __init__(self, context: Context, encoder: MediaEncoder | None) -> None:
        self._context = context
        self._encoder = encoder
        self._was_chunk = False  # evaluated last

    def chunks(self, request: Request) -> dict[int, Chunk]:
        """Return the chunks in a prompt by the index of their first placeholder, after checking all of its tokens.

        Raises:
            UsageError: if a token is not in the vocabulary, a placeholder belongs to no picture, or a prompt with pictures is
                to be scored.
            CapacityError: if the embeddings of a picture that attend to each other do not fit into a micro-batch.
        """
        found: dict[int, Chunk] = {}
        plain = list(request.prompt)
        for place, media in reversed(request.media):
            end = place
            for part in self._encoder.expand(media) if self._encoder is not None else ():
                tokens = part if isinstance(part, tuple) else part.placeholders
                if tuple(request.prompt[end : end + len(tokens)]) != tokens:
                    raise UsageError("the prompt was made for another projector")
                if not isinstance(part, tuple):
                    self._check(part)
                    found[end] = part
                end += len(tokens)
            del plain[place:end]
        self._context.model.vocabulary.check_ids(plain)
        if found and request.params.score_prompt:
            raise UsageError("a prompt with pictures or sounds cannot be scored", parameter="score_prompt")
        return found

    def _check(self, chunk: Chunk) -> None:
        count, params = len(chunk.placeholders), self._context.params
        if not chunk.is_causal and count > min(params.n_ubatch, self._context.n_batch):
            raise CapacityError(
                f"a picture takes {count} embeddings, which this model evaluates at once; n_ubatch is {params.n_ubatch}",
                hint=f"n_ubatch={count} is enough",
                parameter="n_ubatch",
            )

    def next_chunk(self, slots: Slots) -> tuple[Sequence, Chunk] | None:
        """Return the chunk to evaluate now, None if it is the turn of text: a batch has either tokens or embeddings."""
        if self._encoder is None:
            return None
        running = [(sequence, sequence.chunk) for _, sequence in slots.active()]
        waiting = [(sequence, chunk) for sequence, chunk in running if chunk is not None]
        self._was_chunk = bool(waiting) and (not self._was_chunk or len(waiting) == len(running))
        return waiting[0] if self._was_chunk else None

    def evaluate(self, sequence: Sequence, chunk: Chunk) -> int | None:
        """Evaluate a chunk, which is encoded if it was not yet. Return the index of its output, None if it is not needed.

        Raises:
            DecodeError, EngineError: if it cannot be encoded.
            CancelledError: if the cancel flag was set; an unknown part of it is in the cache then.
            MemoryFullError, ContextFullError: as `Context.decode`.
        """
        if self._encoder is None:
            raise UsageError("this model takes text only")
        rows = memoryview(self._encoder.embeddings(chunk))
        count, width = len(chunk.placeholders), 4 * self._encoder.width
        needed, size = sequence.gives_output(count), self._context.n_batch if chunk.is_causal else count
        last = 0
        for start, end in _portions(count, size):
            positions = chunk.positions(sequence.position, start, end)
            part = bytes(rows[start * width : end * width])
            self._context.decode_embeddings(
                part, positions, sequence.slot, output=needed and end == count, is_causal=chunk.is_causal
            )
            last = end - start - 1
        return last if needed else None


def _portions(count: int, size: int) -> Iterable[tuple[int, int]]:
    return ((start, min(start + size, count)) for start in range(0, count, size))
