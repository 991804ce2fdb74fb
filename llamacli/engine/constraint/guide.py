"""Guides of answers beside the samplers: a constraint that starts with a trigger, and an end of reasoning.

The cost of a token does not depend on the length of the answer: only its last bytes are searched. llama-common's reasoning
budget matches token sequences and is not used: in the vocabularies of llama.cpp's tree a third of the texts that follow a mark
merge with it into other tokens, which it would miss.
"""

from __future__ import annotations

import codecs
import re
from collections import deque
from contextlib import closing
from typing import Any

from llamacli.engine.constraint.guidance import Guidance, Thinking
from llamacli.engine.constraint.matcher import Matcher
from llamacli.engine.constraint.trigger import Trigger
from llamacli.engine.runtime.model import Model

_WINDOW = 512
"""Bytes that are searched for a trigger that is a regular expression."""

LEAST_CERTAIN = 4
"""Fewest bytes of text that a grammar makes certain for it to be drafted."""

_CERTAIN_BYTES = 128
"""Most bytes of it that are looked at."""


class Guide:
    """Guidance of one running answer. Owns the constraint's matcher; `close()` may be called twice.

    Raises (when built): what `Matcher` raises.
    """

    def __init__(self, model: Model, guidance: Guidance) -> None:
        self._model = model
        self._vocabulary = model.vocabulary
        self._constraint = constraint = guidance.constraint
        self._matcher = Matcher(model, constraint) if constraint is not None else None
        self._lazy = constraint is not None and constraint.lazy
        self._trigger = _TriggerWatch(constraint.triggers) if constraint is not None and constraint.lazy else None
        self._thinking = _ReasoningWatch(guidance.thinking) if guidance.thinking is not None else None
        self._forced: deque[int] = deque()
        self._end_thinking()

    @property
    def matcher(self) -> Any:
        """The C object that constrains the next token, or None if every token is allowed."""
        return self._matcher.handle if self._matcher is not None and self._trigger is None else None

    @property
    def is_plain(self) -> bool:
        """True if there is only the matcher: no trigger or end of reasoning to watch for, no token to force."""
        return self._trigger is None and self._thinking is None and not self._forced

    @property
    def must_end(self) -> bool:
        """True if the grammar allows no further token."""
        return self._matcher is not None and self._trigger is None and self._matcher.must_end

    @property
    def satisfied(self) -> bool | None:
        """True if the answer so far is complete; None without a grammar from its start."""
        return self._matcher.may_end if self._matcher is not None and not self._lazy else None

    def certain_tokens(self) -> list[int]:
        """Return tokens of the text that must follow, which the model may divide otherwise; none where there is a choice."""
        text = self._matcher.certain_text(_CERTAIN_BYTES) if self._matcher is not None and self.is_plain else ""
        return self._vocabulary.tokenize_within(text) if len(text) >= LEAST_CERTAIN else []

    def would_satisfy(self, text: str) -> bool | None:
        """Return whether `text` is a complete answer; None without a grammar from its start."""
        if self._constraint is None or self._lazy:
            return None
        with closing(Matcher(self._model, self._constraint)) as matcher:
            return matcher.accept_text(text.encode()) and matcher.may_end

    def forced(self) -> int | None:
        """Return the next token if it is forced, else None."""
        while self._forced:
            token = self._forced.popleft()
            if self._matcher is None or self._trigger is not None or self._matcher.accept(token):
                return token
            self._forced.clear()
        return None

    def take(self, token: int) -> bool:
        """Accept a token that was not chosen here. Return False if the grammar does not allow it."""
        self._forced.clear()
        allowed = self._matcher is None or self._trigger is not None or self._matcher.accept(token)
        self.observe(token)
        return allowed

    def observe(self, token: int) -> None:
        """Observe a token of the answer."""
        if self._trigger is None and self._thinking is None:
            return
        piece = self._vocabulary.special_piece(token)
        was_inside = self._thinking is not None and self._thinking.inside
        if self._thinking is not None:
            self._thinking.feed(piece)
            self._end_thinking()
        if self._trigger is None:
            return
        if was_inside and self._thinking is not None:
            piece = self._thinking.since_end  # the end of reasoning may be the trigger
        if piece:
            self._begin(self._trigger.feed(piece))

    def _end_thinking(self) -> None:
        """Force the end of reasoning if its budget is used up."""
        thinking = self._thinking
        if thinking is not None and thinking.is_spent and not self._forced:
            self._forced.extend(self._vocabulary.tokenize(thinking.end, special=True))

    def _begin(self, text: bytes | None) -> None:
        """Start the constraint with the text from its trigger on. Text that it does not allow is left to the parser."""
        if text is not None and self._matcher is not None:
            self._trigger = None
            if not self._matcher.accept_text(text):
                self.close()

    def close(self) -> None:
        """Free the matcher."""
        matcher, self._matcher = self._matcher, None
        if matcher is not None:
            matcher.close()


class _ReasoningWatch:
    """Watch for the start and the end of reasoning in growing text."""

    def __init__(self, thinking: Thinking) -> None:
        self.inside = thinking.opened
        self.end = thinking.ends[0]
        self._start = thinking.start.encode()
        self._ends = tuple(end.encode() for end in thinking.ends)
        self._longest = max(map(len, (self._start, *self._ends)))
        self._budget = thinking.budget
        self._used = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tail = b""
        self.since_end = b""
        """The text of the last piece from an end of reasoning on."""

    @property
    def is_spent(self) -> bool:
        """True if the budget is used up, the reasoning continues, and the last character is whole."""
        spent = self.inside and self._budget is not None and self._used >= self._budget
        return spent and not self._decoder.getstate()[0]

    def feed(self, piece: bytes) -> None:
        """Add the text of one token."""
        self._used += self.inside
        self._decoder.decode(piece)
        self._tail += piece
        self.since_end = b""
        while True:
            marks = self._ends if self.inside else (self._start,)
            found = [(self._tail.find(mark), mark) for mark in marks if mark and mark in self._tail]
            if not found:
                break
            place, mark = min(found)
            self._tail = self._tail[place + len(mark) :]
            self.since_end = mark + self._tail if self.inside else b""
            self.inside = not self.inside
            self._used = 0
        self._tail = self._tail[-self._longest :]


class _TriggerWatch:
    """Watch for the first trigger in growing text."""

    def __init__(self, triggers: tuple[Trigger, ...]) -> None:
        self._text = b""
        self._length = 0
        self._patterns = [_compiled(trigger) for trigger in triggers]

    def feed(self, piece: bytes) -> bytes | None:
        """Return the text from the trigger on, if `piece` completes one."""
        self._text = (self._text + piece)[-(_WINDOW + len(piece)) :]
        self._length += len(piece)
        is_whole = len(self._text) == self._length
        for pattern, anchored in self._patterns:
            # The start of the window is not the start of the text: `^` must not match there.
            if anchored:
                match = pattern.fullmatch(self._text) if is_whole else None
            else:
                match = pattern.search(self._text if is_whole else b"\0" + self._text, 0 if is_whole else 1)
            if match:
                start = next((match.start(i) for i in range(1, pattern.groups + 1) if match.group(i)), match.start())
                return match.string[start:]
        return None


def _compiled(trigger: Trigger) -> tuple[re.Pattern[bytes], bool]:
    """Return the pattern, and whether the whole text must match it."""
    if trigger.kind in ("word", "token"):
        return re.compile(re.escape(trigger.value).encode()), False
    anchored = trigger.kind == "pattern_full" or (trigger.value.startswith("^") and trigger.value.endswith("$"))
    return re.compile(trigger.value.encode()), anchored
