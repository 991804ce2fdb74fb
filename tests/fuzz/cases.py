"""What the fuzzer tries: for each kind a mutant by its number, and what is done with it in the child."""

from __future__ import annotations

import functools
import json
import random
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import commands
import models
import projector_mutants
import texts
import tiny
import tiny_vision
from forked import Outcome, Say, run_forked
from mutants import alter_bytes

from llamacli.backend.child.work.limits import limited
from llamacli.errors import LlamacliError, ModelFileError, ModelUnsupportedError
from llamacli.grammar import gbnf

Case = tuple[str | bytes, str, Callable[[], Outcome]]
"""The mutant, what was done to it, and what uses it and returns how that ended."""


def make(kind: str, seed: int, number: int, folder: Path) -> Case:
    """The case of that number. The same numbers make the same case."""
    chance = random.Random(f"{kind} {seed} {number}")
    return KINDS[kind](chance, folder)


def outcome(kind: str, seed: int, number: int, folder: Path) -> tuple[str, Outcome]:
    """What was done to the mutant of that number, and how using it ended."""
    _, done, use = make(kind, seed, number, folder)
    return done, use()


def forked(use: Callable[..., None], mutant: object) -> Callable[[], Outcome]:
    """Return the use of a mutant in a child."""
    return functools.partial(run_forked, functools.partial(use, mutant))


# --- models ------------------------------------------------------------------------------------------------------------------


def model(chance: random.Random, folder: Path) -> Case:
    data, done = models.mutant(chance)
    path = folder / "mutant.gguf"
    path.write_bytes(data)
    return data, done, forked(use_model, path)


def command(chance: random.Random, folder: Path) -> Case:
    """A mutant of a model for one of the commands."""
    data, done = models.mutant(chance)
    path = folder / "mutant.gguf"
    path.write_bytes(data)
    arguments = commands.command_line(chance, path)
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return data, f"{done}; {arguments[0]}", functools.partial(commands.run_command, arguments, home)


def use_model(path: Path, say: Say) -> None:
    """Check a file as `info --check` does, load it, and do with it what commands do."""
    from llamacli.engine.chat.message import Message
    from llamacli.engine.chat.question import Question
    from llamacli.engine.engine import Engine
    from llamacli.engine.events import Answer
    from llamacli.engine.params import ContextParams, GenerationParams, SamplingParams
    from llamacli.engine.runtime.loading import try_load

    errors = checked(path)
    if not errors:
        say(stage="check", known=["llama.cpp itself does not load it"])
        try_load(path)
    say(stage="load", known=errors[:3])
    with Engine(path, None, ContextParams(n_ctx=64, n_batch=32, n_ubatch=32, threads=1)) as engine:
        say(stage="tokenize")
        for text in ("Hello world, 日本 \x00 1234567", "  \n\n\t x" * 20, "a" * 500, "<|im_start|>"):
            engine.detokenize(engine.tokenize(text, add_special=True, special=True)[:1000])
        if not engine.model.can_generate or engine.model.has_encoder:
            say(stage="embed")
            list(engine.embed(["Hello world", "a b c"]))
            return
        say(stage="render")
        question = Question(
            conversation=(Message("user", "Hi"), Message("assistant", "Yes"), Message("user", "a <|im_end|> b"))
        )
        try:
            turn = engine.render(question)
        except LlamacliError as error:
            say(template=str(error))
            turn = engine.text_turn("Hello world")
        say(stage="generate")
        params = GenerationParams(max_tokens=6, sampling=SamplingParams(temperature=0, ignore_eos=True))
        assert any(isinstance(event, Answer) for event in engine.answer(turn, params))


def checked(path: Path) -> list[str]:
    """The errors that `info --check` finds in a file."""
    from llamacli.gguf.check.model import check_model
    from llamacli.gguf.model import read_files
    from llamacli.gguf.source import FileSource

    files = read_files(path)
    with FileSource(path) as source:
        return [f"{one.subject}: {one.message}" for one in check_model(files, [source]) if one.severity == "error"]


# --- heads -------------------------------------------------------------------------------------------------------------------


def head(chance: random.Random, folder: Path) -> Case:
    """A mutant of an EAGLE-3 head for the tiny model."""
    data, done = models.head_mutant(chance)
    path = folder / "head-mutant.gguf"
    path.write_bytes(data)
    return data, done, functools.partial(head_outcome, path)


def head_outcome(path: Path) -> Outcome:
    """Check a head as every load does; what is sound drafts in a child."""
    from llamacli.gguf.check.drafts import check_drafts
    from llamacli.gguf.model import read_files

    try:
        check_drafts(read_files(sound_model()), str(path), mtp=False)
    except LlamacliError as error:
        return Outcome("refused", f"{type(error).__name__}: {error}", {"stage": "check"})
    except Exception:  # noqa: BLE001 - whatever it is, it is the outcome
        return Outcome("traceback", traceback.format_exc(), {"stage": "check"})
    return run_forked(functools.partial(use_head, path))


def use_head(path: Path, say: Say) -> None:
    """Have a head draft for the tiny model."""
    from llamacli.engine.engine import Engine
    from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams

    say(stage="load", known=checked(path)[:3])
    with Engine(sound_model(), ModelParams(draft_model=str(path)), ContextParams(n_ctx=128, threads=1)) as engine:
        say(stage="generate")
        params = GenerationParams(max_tokens=12, sampling=SamplingParams(temperature=0, ignore_eos=True), draft=4)
        list(engine.answer(engine.text_turn("Hello world, 1234567"), params))


# --- projectors ------------------------------------------------------------------------------------------------------------


@functools.cache
def seeing_model(kind: tiny_vision.Kind) -> Path:
    """The language model that projectors of a kind belong to."""
    return tiny_vision.vision_model(Path(own_folder().name), kind).model


def projector(chance: random.Random, folder: Path) -> Case:
    kind, data, done = projector_mutants.mutant(chance)
    path = folder / "mmproj-mutant.gguf"
    path.write_bytes(data)
    return data, f"{kind}: {done}", functools.partial(projector_outcome, seeing_model(kind), path)


def projector_outcome(model: Path, path: Path) -> Outcome:
    """Check a projector as `info --check` and every load do; what is sound is used in a child."""
    from llamacli.engine.media.compatibility import check_projector
    from llamacli.gguf.model import read_file_header

    try:
        found = check_projector(path, read_file_header(model))
    except LlamacliError as error:
        return Outcome("refused", f"{type(error).__name__}: {error}", {"stage": "check"})
    except Exception:  # noqa: BLE001 - whatever it is, it is the outcome
        return Outcome("traceback", traceback.format_exc(), {"stage": "check"})
    return run_forked(functools.partial(use_projector, model, path, "image" if found.image else "audio"))


def use_projector(model: Path, path: Path, takes: str, say: Say) -> None:
    """Load a projector, and have it encode what it takes."""
    from llamacli.engine.chat.message import Message
    from llamacli.engine.engine import Engine
    from llamacli.engine.events import Answer
    from llamacli.engine.media.media import new_image, new_sound
    from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams

    say(stage="load")
    with Engine(model, ModelParams(mmproj=str(path)), ContextParams(n_ctx=2048, threads=1)) as engine:
        say(stage="encode")
        media = new_image(40, 40, bytes(range(48)) * 100) if takes == "image" else new_sound(16_000, bytes(64_000))
        turn = engine.chat_turn([Message("user", (media, "What is it?"))])
        params = GenerationParams(max_tokens=2, sampling=SamplingParams(temperature=0))
        assert any(isinstance(event, Answer) for event in engine.answer(turn, params))


# --- texts -------------------------------------------------------------------------------------------------------------------


def grammar(chance: random.Random, folder: Path) -> Case:
    text = texts.grammar(chance)
    return text, "", forked(use_grammar, text)


@functools.cache
def own_folder() -> tempfile.TemporaryDirectory[str]:
    """The folder of what several cases need; it is removed when the fuzzer ends."""
    return tempfile.TemporaryDirectory(prefix="fuzz-")


@functools.cache
def sound_model() -> Path:
    """The tiny model, for what needs one."""
    return tiny.tiny_model(Path(own_folder().name) / "tiny.gguf")


def use_grammar(text: str, say: Say) -> None:
    """Parse, lint, explain, sample from and format a grammar, and generate under it."""
    from llamacli.grammar.analysis.explanation import explain
    from llamacli.grammar.analysis.linter import lint
    from llamacli.grammar.analysis.sampler import Sampler
    from llamacli.grammar.matcher import Matcher

    say(stage="lint")
    lint(text)
    say(stage="parse")
    parsed = gbnf.parse(text)
    gbnf.check_safe(text, "root")
    say(stage="explain")
    explain(parsed)
    say(stage="sample")
    made = Sampler(parsed, 1).sample()
    say(stage="match")
    assert Matcher(parsed).matches(made), f"its own sample does not match: {made!r}"
    generate_under(text, say)


def generate_under(text: str, say: Say) -> None:
    from llamacli.engine.constraint.guidance import Constraint
    from llamacli.engine.engine import Engine
    from llamacli.engine.params import ContextParams, GenerationParams, SamplingParams

    say(stage="generate")
    with Engine(sound_model(), None, ContextParams(n_ctx=64, threads=1)) as engine:
        turn = engine.text_turn("Hello", Constraint(grammar=text))
        list(engine.answer(turn, GenerationParams(max_tokens=8, sampling=SamplingParams(temperature=1, seed=1))))


def schema(chance: random.Random, folder: Path) -> Case:
    text = texts.schema(chance)
    return text, "", forked(use_schema, text)


def use_schema(text: str, say: Say) -> None:
    """Convert a schema and generate under its grammar; the tools of a model have one, too."""
    from llamacli.engine.chat.message import Tool
    from llamacli.engine.chat.tools.check import check_tools
    from llamacli.engine.constraint.schema import schema_to_grammar
    from llamacli.grammar.schema.converter import not_enforced
    from llamacli.json_text import parse_json

    say(stage="convert")
    document = parse_json(text)
    with limited():
        made = schema_to_grammar(document)
        not_enforced(document)
        if isinstance(document, dict):
            check_tools((Tool("x", parameters={"type": "object", "properties": {"a": document}}),))
    generate_under(made, say)


def regex(chance: random.Random, folder: Path) -> Case:
    text = texts.regex(chance)
    return text, "", forked(use_regex, text)


def use_regex(text: str, say: Say) -> None:
    from llamacli.grammar.regex.reader import from_regex

    say(stage="convert")
    generate_under(from_regex(text), say)


# --- states ------------------------------------------------------------------------------------------------------------------


@functools.cache
def sound_state() -> bytes:
    """A saved state of the tiny model, made in a child: the fuzzer itself starts no threads."""
    target = sound_model().with_suffix(".state")

    def save(say: Say) -> None:
        from llamacli.engine.engine import Engine
        from llamacli.engine.params import ContextParams, GenerationParams

        with Engine(sound_model(), None, ContextParams(n_ctx=64, threads=1)) as engine:
            list(engine.answer(engine.text_turn("Hello world"), GenerationParams(max_tokens=4)))
            engine.state.save_state(target)

    made = run_forked(save)
    assert made.kind == "done", made
    return target.read_bytes()


def state(chance: random.Random, folder: Path) -> Case:
    """A saved state altered anywhere; half of them with a checksum that is right again."""
    data = alter_bytes(sound_state(), chance)
    signed = chance.random() < 0.5
    data = _signed(data) if signed else data
    path = folder / "mutant.state"
    path.write_bytes(data)
    return data, "signed" if signed else "", forked(use_state, path)


def _signed(data: bytes) -> bytes:
    """The state with sizes and checksum of its own header made right, as one who wants to harm would."""
    import hashlib

    magic, _, rest = data.partition(b"\n")
    line, _, body = rest.partition(b"\n")
    try:
        header = json.loads(line)
        count = int(header["tokens"])
        header["payload"] = max(len(body) - 4 * count, 0)
        header["sha256"] = hashlib.sha256(str(header["fingerprint"]).encode() + body).hexdigest()
    except (ValueError, KeyError, TypeError):
        return data
    return magic + b"\n" + json.dumps(header).encode() + b"\n" + body


def use_state(path: Path, say: Say) -> None:
    from llamacli.engine.engine import Engine
    from llamacli.engine.params import ContextParams, GenerationParams

    with Engine(sound_model(), None, ContextParams(n_ctx=64, threads=1)) as engine:
        say(stage="restore")
        engine.state.load_state(path)
        say(stage="generate")
        list(engine.answer(engine.text_turn("Hello world again"), GenerationParams(max_tokens=4)))


KINDS: dict[str, Callable[[random.Random, Path], Case]] = {
    "model": model, "command": command, "grammar": grammar, "schema": schema, "regex": regex, "state": state,
    "projector": projector, "head": head,
}  # fmt: skip


# --- judgement ---------------------------------------------------------------------------------------------------------------


DEFECTS = ("traceback", "hang", "memory", "crash", "signal", "noise", "status")
"""Findings that must not be. The others are what the checker could still learn."""


def finding(ended: Outcome) -> str | None:
    """What is wrong with the program, in a word; None if the case ended as it should.

    "traceback", "hang" and "memory": no input may cause these. Of commands, "signal": the user's process was ended; "noise" and
    "status": see `Outcome`. "crash": the native library ended the child and `info --check` calls the file sound; "crash,
    known": it does not, and still a load was tried. "unloadable": llama.cpp refuses a file that `info --check` calls sound.
    """
    if ended.kind in ("traceback", "hang", "memory", "noise", "status"):
        return ended.kind
    if ended.kind == "died" and "line" in ended.said:
        return "signal"
    known = bool(ended.said.get("known"))
    if ended.kind == "died":
        return "crash, known" if known else "crash"
    refused = ended.reason.partition(":")[0] in (ModelFileError.__name__, ModelUnsupportedError.__name__)
    if ended.kind == "refused" and ended.said.get("stage") == "load" and not known and refused:
        return "unloadable"
    return None
