"""One sequence from its prompt to its answer: what to evaluate next, and the events of what was sampled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llamacli.binding.library import check_sampling, library
from llamacli.engine.constraint.guide import LEAST_CERTAIN, Guide
from llamacli.engine.events import Event, Finished, FinishReason, Prefill, Token, TokenLogprob
from llamacli.engine.generation.batches.burst import Choice
from llamacli.engine.generation.progress import Progress
from llamacli.engine.generation.prompts.checkpoints import TAIL
from llamacli.engine.generation.prompts.scores import PromptScores
from llamacli.engine.generation.request import Request
from llamacli.engine.generation.sampler import Sampler
from llamacli.engine.generation.text.answer import AnswerText
from llamacli.engine.media.placeholders import position_after, without_placeholders
from llamacli.engine.runtime.context import Context
from llamacli.errors import ConstraintError

if TYPE_CHECKING:
    from llamacli.engine.media.encoder import Chunk


class Sequence:
    """A request in a slot of the cache. `chunks` are the embeddings in its prompt, by the index of their first placeholder.

    `cached` are the tokens that the cache holds, `position` is the one after them, and `pending` are the tokens to evaluate
    next, up to a chunk or to one of the `stops`, where the state is needed.
    """

    def __init__(self, identity: int, request: Request, context: Context, chunks: Mapping[int, Chunk] | None = None) -> None:
        self.id = identity
        self.request = request
        self.slot = -1
        self.cached: list[int] = []
        self.position = 0
        self._chunks = chunks or {}
        self.stops: tuple[int, ...] = ()
        self.pending = self._text_from(0)
        self.finished = False
        self._context = context
        self._vocabulary = context.model.vocabulary
        self._progress = Progress()
        self._expected: int | None = None  # the drafted token that is chosen next if the draft is right
        self.is_prefilling = True
        """True while prompt tokens are to be evaluated."""
        params = request.params
        self._text = AnswerText(params, keeps=request.guidance is not None)
        self._scores = (
            PromptScores(identity, request.prompt, params.logprobs or 0, self._piece) if params.score_prompt else None
        )
        self._guide = Guide(context.model, request.guidance) if request.guidance is not None else None
        try:
            self._sampler = Sampler(context.model, request.params.sampling, logprobs=request.params.logprobs)
        except BaseException:
            if self._guide is not None:
                self._guide.close()
            raise

    @property
    def scores_prompt(self) -> bool:
        """True if the logits after each token of the prompt are needed: the prompt is evaluated in small parts, alone."""
        return self._scores is not None

    @property
    def score_portion(self) -> int:
        """Prompt tokens of one call whose logits are all needed; never so many that a single one is left."""
        count: int = min(len(self.pending), self._context.n_outputs)
        return count - 1 if count > 2 and len(self.pending) - count == 1 else count

    def score(self, first: int, count: int) -> None:
        """Record the logits of `count` prompt tokens, which are outputs from `first` on."""
        if self._scores is not None:
            for index in range(first, first + count):
                self._scores.take(self._context.logits(index))

    @property
    def portion(self) -> int:
        """Prompt tokens of one call: on the CPU a micro-batch, on a device a whole batch.

        The CPU loses nothing between two calls (measured: the same speed to 0.5 %); a device may have several in flight.
        """
        params = self._context.params
        return params.n_batch if library().llama_supports_gpu_offload() else params.n_ubatch

    @property
    def seed(self) -> int:
        """Seed in use."""
        return self._sampler.seed

    def start(self, slot: int, cached: list[int], restored: int = 0) -> None:
        """Start in a slot whose cache holds `cached`, a prefix of the prompt, `restored` tokens of which came from outside."""
        self.slot, self.cached = slot, cached
        self._progress.reused, self._progress.restored = len(cached), restored
        self.position = position_after(cached)
        self.pending = self._text_from(len(cached))
        self._progress.started = time.perf_counter()

    def _text_from(self, start: int) -> list[int]:
        """The tokens of the prompt from an index up to the next chunk or stop, but no single one before a stop."""
        places = [place for place in self._chunks if place >= start]
        places += [stop for stop in self.stops if stop >= start + TAIL]
        end = min(places, default=len(self.request.prompt))
        return list(self.request.prompt[start:end])

    @property
    def chunk(self) -> Chunk | None:
        """The embeddings to evaluate next, before any pending token."""
        return self._chunks.get(len(self.cached)) if self._chunks and self.is_prefilling else None

    def gives_output(self, count: int) -> bool:
        """Return whether the logits after the next `count` tokens, or placeholders of a chunk, are needed."""
        return not self.is_prefilling or len(self.cached) + count == len(self.request.prompt)

    def evaluated(self, count: int, output: int | None) -> list[Event]:
        """Advance by `count` evaluated pending tokens and return the events.

        `output` is the index of the last token's logits, None without logits.
        """
        self.cached += self.pending[:count]
        self.position += count
        del self.pending[:count]
        if not self.pending and self.is_prefilling:
            self.pending = self._text_from(len(self.cached))
        return self._after_evaluation(output)

    def evaluated_chunk(self, chunk: Chunk, output: int | None) -> list[Event]:
        """Advance by an evaluated chunk and return the events. `output` is that of the last embedding, None without logits."""
        self.cached += chunk.placeholders
        self.position += position_after(chunk.placeholders)
        self.pending = self._text_from(len(self.cached))
        return self._after_evaluation(output)

    def _after_evaluation(self, output: int | None) -> list[Event]:
        events: list[Event] = []
        if self.is_prefilling:
            events.append(Prefill(self.id, len(self.cached), len(self.request.prompt)))
            if len(self.cached) < len(self.request.prompt):
                return events
            self.is_prefilling = False
            self._sampler.remember(without_placeholders(self.request.prompt))
            self._progress.first = time.perf_counter()
            self._add_started(events)
            if self.finished:
                return events
        if self.request.params.max_tokens == 0:
            events.append(self.finish("length"))
        elif output is not None:
            self._choose(output, events)
        return events

    @property
    def burst_limit(self) -> int:
        """Steps that C may take alone: none during a prompt, or with a callback or a text to watch for."""
        guide, params = self._guide, self.request.params
        is_watched = self.request.processor is not None or self.request.criterion is not None
        if self.is_prefilling or is_watched or self._sampler.tells_top:
            return 0
        if guide is not None and (params.stop or not guide.is_plain):
            return 0
        room = self._context.n_ctx - len(self.cached)
        return room if params.max_tokens is None else min(room, params.max_tokens - self._progress.shown)

    @property
    def draft_room(self) -> int:
        """Most tokens that may be evaluated beyond the pending one: none while the prompt is read."""
        if self.is_prefilling or len(self.pending) != 1:
            return 0
        room, limit = self._context.n_ctx - len(self.cached) - 1, self.request.params.max_tokens
        return room if limit is None else min(room, limit - self._progress.shown - 1)

    def certain_tokens(self) -> list[int]:
        """Return tokens of the text that the constraint makes certain; the model may divide it otherwise."""
        return self._guide.certain_tokens() if self._guide is not None else []

    def checked(self, draft: tuple[int, ...], first: int = 0) -> tuple[list[Event], int]:
        """Advance by the pending token and by those of a draft, all of which were evaluated, as far as they are what is chosen.

        `first` is the output of the pending token. Return the events, and the number of accepted tokens. Each token is chosen
        as without a draft.
        """
        events: list[Event] = []
        before = self._progress.accepted
        self._progress.drafted += len(draft)
        for output, token in enumerate((*draft, None)):
            self._expected = token
            events += self.evaluated(1, first + output)
            if self.finished or self._progress.accepted - before <= output:
                break
        self._expected = None
        return events, self._progress.accepted - before

    def lane(self, *, stops: bool) -> Any:
        """Return what C needs to continue from the pending token. `stops`: it ends where text is certain."""
        matcher = self._guide.matcher if self._guide is not None else None
        certain = LEAST_CERTAIN if stops else 0
        return self._sampler.lane(self.slot, self.position, self.pending[0], matcher, certain=certain)

    def chosen(self, choice: Choice) -> list[Event]:
        """Advance by the pending token, which C evaluated, and the next one, which C chose."""
        self.cached += self.pending
        self.position += len(self.pending)
        self.pending.clear()
        check_sampling(choice.status)
        events: list[Event] = []
        logprob = None if self.request.params.logprobs is None else choice.logprob
        self._take(choice.token, logprob, (), events, may_end=choice.is_last)
        return events

    def _choose(self, output: int, events: list[Event]) -> None:
        """Sample the next token and add its events, unless the request's criterion ends the answer."""
        criterion = self.request.criterion
        if criterion is not None and criterion(self._seen, self._context.logits(output)):
            events.append(self.finish("stop"))
            return
        token, forced = self._next(output)
        self._take(token, None if forced else self._sampler.logprob(), self._sampler.top(), events)

    @property
    def _seen(self) -> list[int]:
        """The tokens so far, without what stands for pictures and sounds."""
        return without_placeholders(self.cached) if self._chunks else self.cached

    def _add_started(self, events: list[Event]) -> None:
        """Add the events of the tokens of the answer that were in the prompt.

        Raises:
            ConstraintError: if the grammar does not allow them.
        """
        for token in self.request.prompt[len(self.request.prompt) - self.request.started :]:
            if self._guide is not None and not self._guide.take(token):
                raise ConstraintError("the grammar does not allow an answer that starts like this")
            piece = self._piece(token)
            events.append(Token(self.id, token, piece, self._text.add(piece)))
            if self._text.stop is not None or (self._guide is not None and self._guide.must_end):
                events.append(self.finish("stop"))
                return

    def _piece(self, token: int) -> bytes:
        return self._vocabulary.special_piece(token) if token in self.request.preserved else self._vocabulary.piece(token)

    def _take(
        self, token: int, logprob: float | None, top: tuple[TokenLogprob, ...], events: list[Event], *, may_end: bool = True
    ) -> None:
        """Add the events of a token. `may_end`: this token is the grammar's last, which may end the answer."""
        progress = self._progress
        progress.sampled += 1
        progress.accepted += token == self._expected
        if self._vocabulary.is_end(token):
            events.append(self.finish("stop"))
            return
        piece = self._piece(token)
        text, is_over = self._text.generated(piece, progress.first)
        progress.shown += 1
        events.append(Token(self.id, token, piece, text, logprob, top))
        if self._text.stop is not None or (may_end and self._guide is not None and self._guide.must_end):
            events.append(self.finish("stop"))
        elif is_over or progress.shown == self.request.params.max_tokens:
            events.append(self.finish("length"))
        else:
            self.pending.append(token)

    def _next(self, output: int) -> tuple[int, bool]:
        """The next token, and True if it was forced."""
        guide = self._guide
        if self.request.processor is not None:
            self.request.processor(self._seen, self._context.logits(output))
        if guide is None:
            return self._sampler.sample(self._context.handle, output), False
        token = guide.forced()
        forced = token is not None
        if token is None:
            token = self._sampler.sample(self._context.handle, output, guide.matcher)
        else:
            self._sampler.force(token)
        guide.observe(token)
        return token, forced

    def finish(self, reason: FinishReason) -> Finished:
        """Free the sampler and return the closing event."""
        prompt = len(self.request.prompt)
        timings = self._progress.timings(prompt, len(self.cached))
        rest = self._text.rest()
        if self._text.is_cut and reason == "stop":
            reason = "length"
        satisfied = self._satisfied()
        self.close()
        scored = tuple(self._scores.tokens) if self._scores is not None else ()
        return Finished(self.id, reason, self._progress.usage(prompt), timings, rest, self._text.stop, satisfied, scored)

    def _satisfied(self) -> bool | None:
        """True if the text, without what a stop text cut off, is complete under its grammar; None without one."""
        if self._guide is None:
            return None
        if self._text.is_cut:
            return False
        return self._guide.satisfied if self._text.stop is None else self._guide.would_satisfy(self._text.kept)

    def close(self) -> None:
        """Free the sampler and the guide."""
        self.finished = True
        self._sampler.close()
        if self._guide is not None:
            self._guide.close()
