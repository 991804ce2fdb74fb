"""What the command line reaches the world through, replaced: streams in memory, an engine that knows its answer by heart."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from llamacli.backend.child.params import ChildParams
from llamacli.cli.boundary import run_program
from llamacli.cli.framework.console import Console, Terminals
from llamacli.cli.framework.context import AppContext, read_defaults
from llamacli.engine.chat.answers.reader import AnswerBuilder, read_answers
from llamacli.engine.chat.message import Message
from llamacli.engine.chat.prompts import Prompting
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.turn import Turn
from llamacli.engine.constraint.guidance import Constraint, Guidance
from llamacli.engine.events import AnswerEvent, Event, Finished, Prefill, Timings, Token, TokenLogprob, Usage
from llamacli.engine.generation.room import Room, stream_with_room
from llamacli.engine.params import ContextParams, Description, GenerationParams, ModelParams, SamplingParams

ANSWER = ("Because ", "of ", "Rayleigh ", "scattering.")


@dataclass(frozen=True)
class FakePrompt:
    """The tokens of a prompt: here one for each word."""

    text: str
    stops: tuple[str, ...] = ()

    @property
    def tokens(self) -> list[int]:
        return list(range(len(self.text.split())))


@dataclass
class FakeEngine:
    """An engine with the interface of `engine.engine.Engine`. It notes what it was asked, and answers with `pieces`."""

    pieces: Sequence[str] = ANSWER
    has_chat_template: bool = True
    has_vocabulary: bool = True
    recommended_sampling: dict[str, str] = field(default_factory=dict)
    recommended: Mapping[str, Any] = field(default_factory=dict)
    reason: str = "stop"
    error: Exception | None = None
    load_error: Exception | None = None
    load_steps: Sequence[float] = (0.0, 0.5, 1.0)
    step_seconds: float = 0.0
    satisfied: bool | None = None
    answer_format: Mapping[str, Any] | None = None
    cached: int = 0
    logprob: float | None = None
    top: tuple[TokenLogprob, ...] = ()
    n_ctx: int = 4096
    load_ms: float = 12.0
    description: str = "fake 1B Q4_0"
    has_tools: bool = True
    is_alive: bool = True

    def __post_init__(self) -> None:
        self.path: Path | None = None
        self.model = ModelParams()
        self.context = ContextParams()
        self.messages: list[dict[str, str]] | None = None
        self.template: str | None = None
        self.rendering: Rendering | None = None
        self.constraint: Constraint | None = None
        self.budget: int | None = None
        self.prompt: FakePrompt | None = None
        self.params: GenerationParams | None = None
        self.started: tuple[int, ...] = ()
        self.words: dict[int, str] = {}
        self.cancelled = False
        self.closed = False

    def open(
        self,
        path: Path,
        model: ModelParams,
        context: ContextParams,
        *,
        child: ChildParams | None = None,
        on_load: Callable[[float], None] | None = None,
    ) -> FakeEngine:
        self.child = child
        self.path, self.model, self.context = path, model, context
        for share in self.load_steps:
            if on_load:
                on_load(share)
        if self.load_error:
            raise self.load_error
        return self

    def revive(self) -> None:
        self.is_alive = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True

    def cancel(self) -> None:
        self.cancelled = True

    def sampling_defaults(self, base: SamplingParams) -> SamplingParams:
        return replace(base, **self.recommended)

    def chat_turn(
        self,
        messages: Sequence[Message],
        rendering: Rendering,
        *,
        template: str | None = None,
        constraint: Constraint | None = None,
        budget: int | None = None,
    ) -> Turn:
        self.messages, self.template = [message.to_json() for message in messages], template
        self.rendering, self.constraint, self.budget = rendering, constraint, budget
        text = "\n".join(f"<{message.role}>{message.text}" for message in messages)
        thinks = self.answer_format is not None
        return Turn(prompt=FakePrompt(text, ("<end>",)), answer_format=self.answer_format, thinks=thinks)

    def knows_tools(self, source: str | None = None) -> bool:
        return self.has_tools

    def answer_tokens(
        self, turn: Turn, messages: Sequence[Message], rendering: Rendering, *, template: str | None = None
    ) -> tuple[int, ...]:
        tokens = []
        for word in re.findall(r"\s*\S+\s*", messages[-1].text):
            tokens.append(5000 + len(self.words))
            self.words[tokens[-1]] = word
        return tuple(tokens)

    def ends_answer(self, token: int) -> bool:
        return token == 2

    def text_turn(self, text: str, constraint: Constraint | None = None) -> Turn:
        self.constraint = constraint
        return Turn(prompt=FakePrompt(text), is_chat=False)

    def infill_turn(
        self, prefix: str, suffix: str, constraint: Constraint | None = None, *, files: Sequence[tuple[str, str]] = ()
    ) -> Turn:
        self.constraint = constraint
        return Turn(prompt=FakePrompt(f"{prefix}<gap>{suffix}"), is_chat=False)

    def resolve_biases(self, biases: Sequence[tuple[int | str, float]]) -> tuple[tuple[int, float], ...]:
        return tuple((token if isinstance(token, int) else 1000 + len(token), bias) for token, bias in biases)

    def context_for(self, prompt: int, max_tokens: int | None) -> int:
        return self.n_ctx

    @property
    def cached_tokens(self) -> int:
        return len(self.prompt.tokens) if self.prompt else 0

    @property
    def state_bytes(self) -> int:
        return 4 * self.cached_tokens

    def save_state(self, path: Path) -> int:
        path.write_bytes(b"state")
        return 1

    def load_state(self, path: Path) -> int:
        path.read_bytes()
        return 1

    render = Prompting.render

    def describe(self) -> Description:
        name = self.path.name if self.path else ""
        limits = {"n_ctx": self.n_ctx, "n_ctx_train": self.n_ctx, "n_parallel": 1, "n_vocab": 100}
        return Description(model=name, kind=self.description, **limits, has_chat_template=self.has_chat_template)

    def answer(
        self,
        turn: Turn,
        params: GenerationParams | None = None,
        *,
        samples: int = 1,
        started: Sequence[int] = (),
        closes_gap: bool = False,
        make_room: Callable[[int], Room | None] | None = None,
    ) -> Iterator[AnswerEvent]:
        params = params or GenerationParams()

        def start(turn, params, started, closes_gap):
            more = {"samples": samples if samples > 1 else None, "started": started, "closes_gap": closes_gap}
            given = {name: value for name, value in more.items() if value}
            for event in self.generate(turn.prompt, params, guidance=turn.guidance, **given):
                yield (event.sequence if samples > 1 else 0), event

        if make_room is None:
            events = start(turn, params, started, closes_gap)
        else:
            events = stream_with_room(start, turn, params, tuple(started), closes_gap=closes_gap, make_room=make_room)
        keeps = params.logprobs is not None
        return read_answers(events, lambda number: AnswerBuilder(turn, number, keeps_tokens=keeps, raises=True))

    def generate(
        self,
        prompt: FakePrompt,
        params: GenerationParams,
        *,
        guidance: Guidance | None = None,
        samples: int = 1,
        started: Sequence[int] = (),
        closes_gap: bool = False,
    ) -> Iterator[Event]:
        for number in range(samples):
            yield from self._numbered(number, prompt, params, started)

    def _numbered(self, number: int, prompt: FakePrompt, params: GenerationParams, started: Sequence[int]) -> Iterator[Event]:
        self.prompt, self.params, self.started = prompt, params, tuple(started)
        count = len(prompt.tokens) + len(started)
        yield Prefill(number, count, count)
        for token in started:
            text = self.words.get(token, f"<{token}>")
            yield Token(number, token, text.encode(), text)
        made = 0
        for piece in self.pieces[: params.max_tokens]:
            time.sleep(self.step_seconds)
            if self.cancelled:
                break
            made += 1
            token = 1000 + len(self.words)
            self.words[token] = piece
            yield Token(number, token, piece.encode(), piece, self.logprob, self.top)
        if self.error:
            raise self.error
        reason = "cancelled" if self.cancelled else "length" if made == params.max_tokens else self.reason
        yield Finished(
            number, reason, Usage(count, made, self.cached), Timings(count, 100.0, made, 200.0), satisfied=self.satisfied
        )


@dataclass(frozen=True)
class Result:
    """What a command line did."""

    status: int
    stdout: str
    stderr: str
    stdout_bytes: bytes
    engine: FakeEngine


class Unwritable(io.BytesIO):
    """A stream of which every write fails."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, data: Any) -> int:
        raise self.error


def invoke(
    *arguments: str,
    stdin: bytes | None = None,
    terminals: Terminals | None = None,
    environ: Mapping[str, str] | None = None,
    width: int | None = 80,
    engine: FakeEngine | None = None,
    stdout: io.BytesIO | None = None,
    defaults: Mapping[str, object] | None = None,
    **replaced: Any,
) -> Result:
    """Runs a command line in this process. `stdin` None is a terminal on which nobody types."""
    engine = engine or FakeEngine()
    out, err = stdout or io.BytesIO(), io.BytesIO()
    console = Console(
        stdin=io.BytesIO(stdin or b""),
        stdout=out,
        stderr=err,
        terminals=terminals or Terminals(stdin=stdin is None),
        environ=environ or {},
        width=width,
    )
    app = AppContext(
        console=console,
        **{
            "open_engine": engine.open,
            "find_model": lambda app, reference, *, offline: Path(reference or "demo.gguf"),
            "find_projector": lambda *_, **__: None,
            "read_defaults": (lambda environ, options, given: defaults) if defaults is not None else read_defaults,
            **replaced,
        },
    )
    status = run_program(list(arguments), app)
    data = out.getvalue()
    return Result(status, data.decode(errors="replace"), err.getvalue().decode(), data, engine)
