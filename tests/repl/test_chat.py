"""`llamacli chat` through prompt_toolkit's pipe input, with an engine that knows its answers."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import re
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from fakes import FakeEngine, invoke
from prompt_toolkit.application import Application, create_app_session
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from talk import CTRL_C, ENTER, TERMINAL, Talker, plain, talk, without_greeting

from llamacli.cli.framework.console import Terminals
from llamacli.engine.events import Answer, Timings, Usage
from llamacli.errors import ContextFullError, DecodeError, ModelFileError, UsageError
from llamacli.repl import dispatch
from llamacli.repl.app.external_editor import edit
from llamacli.repl.app.toolbar import format_toolbar
from llamacli.repl.commands.registry import COMMANDS, GROUPS, split_command
from llamacli.repl.conversation.blocks import is_open_block, strip_fences
from llamacli.store.files import paths

if TYPE_CHECKING:
    from llamacli.repl.conversation.state import Chat

ALT_ENTER, CTRL_J = "\x1b\r", "\n"


def test_a_question_is_answered_and_the_conversation_goes_on() -> None:
    engine = Talker(answers=[("Hel", "lo."), ("Fine.",)])
    result = talk("Hi\rHow are you?\r", "-sys", "Be kind.", engine=engine)
    assert (result.status, result.stderr) == (0, "")
    assert "Hello." in plain(result.stdout)
    assert "Fine." in plain(result.stdout)
    assert engine.asked[1] == [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello."), ("user", "How are you?")]
    assert engine.closed


def test_the_prompt_argument_is_the_first_message() -> None:
    engine = Talker()
    assert talk("", "Why?", engine=engine).status == 0
    assert engine.asked == [[("user", "Why?")]]


@pytest.mark.parametrize("terminals", [Terminals(stdout=True), Terminals(stdin=True)])
def test_without_a_terminal_it_points_to_run(terminals) -> None:
    result = invoke("chat", terminals=terminals)
    assert result.status == 2
    assert "chat needs a terminal" in result.stderr
    assert "llamacli run" in result.stderr


def test_a_model_that_cannot_be_loaded_ends_the_prompt_line() -> None:
    engine = FakeEngine(load_error=ModelFileError("demo.gguf is damaged"))
    result = talk("Hi", engine=engine)
    assert (result.status, "demo.gguf is damaged" in result.stderr) == (3, True)


def test_a_model_without_a_template_is_refused() -> None:
    result = talk("Hi\r", engine=Talker(has_chat_template=False))
    assert result.status == 3
    assert "--chat-template" in result.stderr


@pytest.mark.parametrize(
    ("keys", "sent"),
    [
        (f"one{ALT_ENTER}two{ENTER}", "one\ntwo"),
        (f"one{CTRL_J}two{ENTER}", "one\ntwo"),
        ("\x1b[200~first\nsecond\n\tthird\x1b[201~\r", "first\nsecond\n\tthird"),
        ('"""\rline one\rline two\r"""\r', "line one\nline two"),
        ('"""\r  indented\rnot\r"""\r', "  indented\nnot"),
        (f"wrong{CTRL_C}right{ENTER}", "right"),
        ("/usr/bin/env is a path\r", "/usr/bin/env is a path"),
        (" /undo as text\r", "/undo as text"),
        ("/*\x1b\r comment */\r", "/*\n comment */"),
        ("größer 🦙\r", "größer 🦙"),
    ],
)
def test_what_is_typed_is_what_is_sent(keys: str, sent: str) -> None:
    engine = Talker()
    assert talk(keys, engine=engine).status == 0
    assert engine.asked == [[("user", sent)]]


def test_ctrl_c_on_an_empty_line_does_not_leave() -> None:
    engine = Talker()
    assert talk(f"{CTRL_C}{CTRL_C}Hi{ENTER}", engine=engine).status == 0
    assert len(engine.asked) == 1


def test_ctrl_c_stops_an_answer_and_keeps_it() -> None:
    engine = Talker(answers=[("One ", "two ", "three ", "four.")], interrupt_at=3)
    result = talk("Count\rGo on\r", engine=engine)
    assert result.status == 0
    assert "[stopped]" in plain(result.stdout)
    question, answer, second = engine.asked[1]
    assert (question, second) == (("user", "Count"), ("user", "Go on"))
    assert answer[0] == "assistant"
    assert answer[1].startswith("One two")
    assert "four" not in answer[1]


def test_ctrl_c_before_the_first_word_brings_the_message_back() -> None:
    engine = Talker(interrupt_at=0)
    result = talk(f"Coun{ENTER}t{ENTER}", engine=engine)
    assert result.status == 0
    assert engine.asked == [[("user", "Coun")], [("user", "Count")]]


def test_an_error_is_said_and_the_conversation_goes_on() -> None:
    engine = Talker(refuses=[DecodeError("llama.cpp could not evaluate a batch")])
    result = talk(f"Hi{CTRL_C}Hi{ENTER}!{ENTER}", engine=engine)
    assert result.status == 0
    assert "could not evaluate" in result.stdout
    assert engine.asked == [[("user", "Hi")], [("user", "Hi!")]]


def test_a_parameter_is_named_by_its_option_unless_it_can_be_set_here() -> None:
    refuses = [
        ContextFullError("the prompt does not fit", needed=9, available=8, hint="use a larger n_ctx", parameter="n_ctx"),
        UsageError("top_k must not be negative", parameter="top_k"),
    ]
    out = plain(talk(f"Hi{ENTER}/retry{ENTER}", engine=Talker(refuses=refuses)).stdout)
    assert "the prompt does not fit (use a larger -c)\n" in out
    assert "top_k must not be negative\n" in out


def test_a_full_context_is_said_before_it_happens() -> None:
    engine = Talker(n_ctx=10)
    result = talk(f"a b c d e f g h{ENTER}", engine=engine)
    assert "2 tokens of the context left" not in plain(result.stdout)
    result = talk(f"a b c d e f g h i{ENTER}", engine=Talker(n_ctx=9))
    assert "the conversation has 9 tokens, the context 9" in plain(result.stdout)
    result = talk(f"a b c d e f g h i{ENTER}", engine=Talker(n_ctx=16))
    assert "of the context left" not in plain(result.stdout)
    result = talk(f"{' a' * 15}{ENTER}", engine=Talker(n_ctx=16))
    assert "only 1 token of the context left" in plain(result.stdout)


def test_a_context_shift_leaves_out_the_oldest_turns() -> None:
    engine = Talker(n_ctx=21)
    result = talk("a b c d\re f g h\ri j k l\r", "--context-shift", engine=engine)
    assert result.status == 0
    assert "no longer sees the oldest 2 messages" in plain(result.stdout)
    assert engine.asked[1][0] == ("user", "a b c d")
    assert engine.asked[2][0] == ("user", "e f g h")


def test_text_of_the_model_cannot_steer_the_terminal() -> None:
    hostile = ("\x1b]0;title\x07 ", "a\u202eb ", "&#27;[2J ", "`\x1b[31m`", "\n\n    \x9bcode\n")
    for flags in ((), ("--plain",), ("--color", "never")):
        out = talk("Hi\r", *flags, engine=Talker(answers=[hostile])).stdout
        assert "\x1b]" not in out
        assert "\x1b[2J" not in out
        assert "\u202e" not in out
        assert "\x9b" not in out
        assert "\\x1b]0;title\\x07" in out
        assert "\\u202e" in out


def test_undo_edit_and_regen_make_branches() -> None:
    engine = Talker(answers=[("A1",), ("B1",), ("A2",), ("A3",)])
    result = talk("a\rb\r/undo\r/regen\r/edit\rx\r/branches\r", engine=engine)
    assert result.status == 0
    assert engine.asked[2] == [("user", "a")]
    assert engine.asked[3] == [("user", "ax")]
    out = plain(result.stdout)
    assert "removed: b" in out
    for tip in ("1  4 messages, last: B1", "2  2 messages, last: A2", "* 3  2 messages, last: A3"):
        assert tip in out


def test_a_branch_can_be_taken_up_again() -> None:
    engine = Talker(answers=[("A1",), ("A2",), ("B",)])
    talk("a\r/regen\r/branch 1\rb\r", engine=engine)
    assert engine.asked[2] == [("user", "a"), ("assistant", "A1"), ("user", "b")]
    assert "from 1 to 2" in plain(talk("a\r/regen\r/branch 3\r").stdout)


def test_set_changes_sampling_and_says_what_it_takes() -> None:
    engine = Talker()
    keys = "/set temp 0.25\r/set top-k 7\r/set stop END,\\nUser\r/set max_tokens 2\ra\r/set temp default\r/set n none\ra\r"
    assert talk(keys, engine=engine).status == 0
    first, second = engine.seen_params
    assert (first.sampling.temperature, first.sampling.top_k, first.max_tokens) == (0.25, 7, 2)
    assert first.stop == ("END", "\nUser")
    assert (second.sampling.temperature, second.max_tokens) == (0.8, None)
    out = plain(talk("/set temperatur 1\r/set temp warm\r/set mirostat 7\r/set top_k 3\r/params\r").stdout)
    assert "did you mean temperature?" in out
    assert "invalid value 'warm' for temperature (expected a number)" in out
    assert "\nmirostat must be 0, 1 or 2" in out
    assert "* top_k = 3\n" in out
    assert "  min_p = 0.05\n" in out


def test_biases_are_set_one_by_one() -> None:
    engine = Talker()
    keys = '/set logit_bias " cat"=-2\r/set logit_bias 15043=false\r/set logit-bias 7+1.5\r/params\ra\r'
    out = plain(
        talk(
            keys + '/set logit_bias " cat"=1\rb\r' + "/set logit_bias none\rc\r/set logit_bias default\rd\r",
            "-l",
            "3=4",
            engine=engine,
            width=200,
        ).stdout
    )
    assert '* logit_bias = " cat"=-2, 15043=false, 7=1.5\n' in out
    assert "logit_bias reset to the default\n" in out
    found = [params.sampling.logit_bias for params in engine.seen_params]
    infinity = float("inf")
    assert found == [((1004, -2.0), (15043, -infinity), (7, 1.5)), ((15043, -infinity), (7, 1.5), (1004, 1.0)), (), ((3, 4.0),)]
    assert "'cat' is not a token and a bias" in plain(talk("/set logit_bias cat\r").stdout)


def said(keys: str, *, width: int) -> str:
    """What a conversation says after its first line, without colours."""
    return plain(without_greeting(talk(keys, width=width).stdout))


def test_what_was_changed_is_said() -> None:
    out = said("/set temp 0.25\r/set n default\r/system Be kind.\r/system none\r/think hide\r", width=200)
    assert out == (
        "temperature = 0.25\nmax_tokens reset to the default\nsystem prompt changed\nsystem prompt removed\n"
        "reasoning is on, if the template supports it, and hidden\n"
    )


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_help_names_every_command_within_the_width(width: int) -> None:
    out = said("/help\r", width=width)
    text = " ".join(out.split())
    for command in COMMANDS.values():
        assert f"{command.usage} {command.about}" in text
    assert max(map(len, out.splitlines())) < max(width, 32)
    if width >= 80:
        assert len(out.splitlines()) < 54
    place = [out.index(f"\n/{name}") for name in ("regen", "undo", "model", "file", "save", "help")]
    assert place == sorted(place)
    assert sorted(name for names in GROUPS.values() for name in names) == sorted({one.name for one in COMMANDS.values()})


def test_near_misses_are_suggested() -> None:
    out = plain(talk("/regn\r/help set\r").stdout)
    assert "unknown command /regn (did you mean /regen?)" in out
    assert "Model\n/set NAME VALUE  Change a sampling parameter" in out


def test_lines_in_our_name_break_between_words() -> None:
    out = said("/grammar off\r/set nosuchsettingatall 1\r/load nobody\r", width=24)
    assert out == (
        "answers are not\nconstrained\nunknown parameter\nnosuchsettingatall\n(/params lists the\nparameters)\n"
        "unknown session nobody\n(/sessions lists the\nsessions)\n"
    )


def test_files_go_with_the_next_message(tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("material here\n")
    engine = Talker()
    result = talk(f"/file '{tmp_path}/a b.txt'\r/file missing.txt\rSummarize\rMore\r", engine=engine)
    assert "2 tokens, sent with the next message" in plain(result.stdout).replace("\n", " ")
    assert "missing.txt does not exist" in result.stdout
    assert engine.asked[0] == [("user", "material here\n\nSummarize")]
    assert engine.asked[1][-1] == ("user", "More")


def test_documents_of_the_command_line_go_with_the_first_message(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("material\n")
    engine = Talker()
    result = talk("Summarize\rMore\r", "-r", "-f", str(tmp_path), engine=engine)
    assert f"{tmp_path}/a.md: text, 9 characters" in "".join(result.stderr.splitlines())
    assert engine.asked[0] == [("user", f"==> {tmp_path}/a.md <==\nmaterial\n\nSummarize")]
    assert engine.asked[1][-1] == ("user", "More")


def test_export_writes_all_forms_and_never_over_a_file(tmp_path: Path) -> None:
    keys = "".join(f"/export {tmp_path}/c.{ending}\r" for ending in ("md", "json", "html", "md", "txt"))
    result = talk("<Hi>\r" + keys, "-sys", "S", engine=Talker(answers=[("Yes & no",)]))
    assert (tmp_path / "c.md").read_text() == "## System\n\nS\n\n## User\n\n<Hi>\n\n## Assistant\n\nYes & no\n"
    assert json.loads((tmp_path / "c.json").read_text())["messages"][2] == {"role": "assistant", "content": "Yes & no"}
    assert "<pre>&lt;Hi&gt;</pre>" in (tmp_path / "c.html").read_text()
    assert "c.md already exists" in " ".join(plain(result.stdout).split())
    assert "ends in .md, .json or .html" in result.stdout


def test_what_the_model_gets_can_be_looked_at() -> None:
    out = plain(talk("/prompt\r/stats\rHi you\r/prompt\r/tokens\r/tokens a b c\r/context\r/stats\r/system\r").stdout)
    assert "the conversation is empty" in out
    assert "no answer yet" in out
    assert "<user>Hi you\n<assistant>Because of Rayleigh scattering." in out
    assert "      2  user\n      4  assistant\n" in out
    assert "3 tokens\n" in out
    assert "6 of 4096 tokens used, 4090 left" in out
    assert "generated 4 tokens at 20.0 tokens/s" in out
    assert "no system prompt" in out


def test_the_system_prompt_and_clear() -> None:
    engine = Talker()
    talk("a\r/system Be brief.\r/clear\rb\r/system none\rc\r", engine=engine)
    assert engine.asked[1] == [("system", "Be brief."), ("user", "b")]
    assert engine.asked[2][0] == ("user", "b")


def test_the_history_is_private_and_can_be_left_out() -> None:
    history = paths.data_dir() / "chat-history"
    talk("secret\r", "--no-history")
    assert not history.exists()
    talk("hello\r")
    assert "+hello" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_quit_leaves_at_once() -> None:
    engine = Talker()
    assert talk("/quit\rHi\r", engine=engine).status == 0
    assert engine.asked == []


def test_reasoning_is_kept_apart_from_the_answer() -> None:
    assert "/think needs on, off, show or hide" in plain(talk("/think maybe\r").stdout)
    engine = Talker()
    talk("/think off\rHi\r", engine=engine)
    assert engine.rendering is not None
    assert engine.rendering.enable_thinking is False


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/undo", ("undo", "")),
        ("/set temp 0.5 ", ("set", "temp 0.5")),
        ("/system line one\nline two", ("system", "line one\nline two")),
        ("/usr/bin/env", None),
        ("/etc", ("etc", "")),
        ("// comment", None),
        ("/ a", None),
        (" /undo", None),
        ("say /undo", None),
    ],
)
def test_only_a_slash_and_a_word_at_the_start_is_a_command(text: str, found) -> None:
    assert split_command(text) == found


def test_blocks_of_quotes() -> None:
    assert is_open_block('"""')
    assert is_open_block('"""a\nb')
    assert not is_open_block('"""a"""')
    assert not is_open_block('a """')
    assert strip_fences('"""\n  a\n\nb\n"""') == "  a\n\nb"
    assert strip_fences('  """open ') == '"""open'


def test_every_command_explains_itself() -> None:
    assert dispatch.COMMAND_MODULES
    for name, command in COMMANDS.items():
        assert command.summary
        assert not command.summary.endswith(".")
        assert split_command(f"/{name}") == (name, "")


def test_a_mistake_of_ours_does_not_end_the_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(chat, argument: str) -> None:
        raise ValueError("broken\nin two lines")

    monkeypatch.setitem(COMMANDS, "undo", dataclasses.replace(COMMANDS["undo"], function=broken))
    engine = Talker()
    result = talk("/undo\rHi\r", engine=engine)
    assert (result.status, result.stderr, len(engine.asked)) == (0, "", 1)
    assert "unexpected ValueError: broken (this is a bug; llamacli chat -v shows where)\n" in plain(result.stdout)
    assert "in broken\n" in talk("/undo\r", "-v").stderr


NAME = "SmolLM2-135M-Instruct.Q4_1"


def bar(width: int, *, answered: bool = True, made: int = 180, files: int = 2) -> str:
    """The status bar after an answer."""
    usage, timings, first = Usage(104, made), Timings(104, 100.0, made, 1125.0), 170.0 if made else None
    answer = Answer(finish_reason="stop", usage=usage, timings=timings, first_token_ms=first)
    chat = SimpleNamespace(
        model=SimpleNamespace(found=SimpleNamespace(name=NAME), loader=SimpleNamespace(engine=object(), share=1.0)),
        measured=answer if answered else None,
        window=SimpleNamespace(size=8192),
        setup=SimpleNamespace(profile="careful"),
        turn=SimpleNamespace(attachments=[None] * files),
    )
    return format_toolbar(cast("Chat", chat), width)


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (
            140,
            f"{NAME} · 160.0 tokens/s · first token 0.17 s · context 284/8192, 7908 left · profile careful · 2 files attached",
        ),
        (100, "SmolLM2-135M-Instruct.Q4_1 · 160 tokens/s · first 0.17 s · 284/8192, 7908 left · careful · 2 files"),
        (80, "SmolLM2-135M-Instruct.Q4… · 160 tokens/s · 0.17 s · 284/8192 · careful · 2 files"),
        (70, "SmolLM2-135M-I… · 160 tokens/s · 0.17 s · 284/8192 · careful · 2 files"),
        (60, "SmolLM2-135M-I… · 160 tokens/s · 0.17 s · 284/8192 · careful"),
        (40, "SmolLM2-135M-In… · 160 tokens/s · 0.17 s"),
        (30, "SmolLM2-135M-I… · 160 tokens/s"),
        (12, "SmolLM2-135…"),
        (1, "…"),
    ],
)  # fmt: skip
def test_the_status_bar_at_any_width(width: int, shown: str) -> None:
    assert bar(width) == shown
    assert len(shown) <= width


def test_the_status_bar_without_an_answer() -> None:
    assert bar(80, answered=False, files=1) == "SmolLM2-135M-Instruct.Q4_1 · profile careful · 1 file attached"
    assert "tokens/s" not in bar(140, made=0)


@pytest.mark.parametrize(
    ("script", "left", "hinted"),
    [
        ("printf '\\377' >", "draft", "not UTF-8"),
        ("rm", "draft", "cannot be read"),
        ("false", "draft", "ended with status 1"),
        ("printf 'edited\\n' >>", "draftedited", ""),
    ],
)
def test_an_editor_that_leaves_no_text_leaves_the_draft(
    script: str, left: str, hinted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text(f'#!/bin/sh\n{script} "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    hints: list[str] = []
    with create_pipe_input() as source, create_app_session(input=source, output=DummyOutput()) as session:
        buffer = Buffer()
        buffer.text = "draft"
        application: Application[None] = Application(input=session.input, output=session.output)

        async def edited() -> None:
            running = asyncio.ensure_future(application.run_async())
            await asyncio.sleep(0)
            await edit(buffer, hints.append, sends=False)
            application.exit()
            await running

        asyncio.run(edited())
    assert buffer.text == left
    assert [hinted in hint for hint in hints] == ([True] if hinted else [])


def test_copy_without_a_terminal_or_a_clipboard_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "\x1b]52;c;SGVsbG8u\a" in talk("Hi\r/copy\r", engine=Talker(answers=[("Hello.",)])).stdout
    (tmp_path / "script").write_text("Hi\n/copy\n")
    result = invoke("chat", "--script", str(tmp_path / "script"), stdin=b"", engine=Talker())
    assert (result.status, "\x1b" in result.stdout) == (2, False)
    assert "no clipboard" in result.stdout


def test_copy_takes_a_code_block_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = "One:\n```sh\nls\n```\n- Two:\n  ```py\n  if x:\n      y\n  ```\n```\nnever ends"
    result = talk("Hi\r/copy 2\r/copy 3\r/copy x\r", engine=Talker(answers=[(answer,)]))
    code = base64.b64encode(b"if x:\n    y\n").decode()
    assert f"\x1b]52;c;{code}\a" in result.stdout
    assert plain(result.stdout).count("/copy needs a number from 1 to 2") == 2
    assert "no code block" in talk("Hi\r/copy 1\r", engine=Talker(answers=[("Hello.",)])).stdout


def test_the_first_line_names_the_model_and_the_last_one_how_to_resume() -> None:
    result = talk("Hi\r/save it's mine\r", engine=Talker(answers=[("Hello.",)]))
    lines = plain(result.stdout).strip().splitlines()
    assert lines[0] == "chat with demo · /help lists the commands · Ctrl-D leaves"
    assert lines[-1] == """llamacli chat --session 'it'"'"'s mine' resumes this conversation"""
    for arguments, keys in (((), ""), (("--no-save",), "Hi\r")):
        assert "resumes this conversation" not in plain(talk(keys, *arguments, engine=Talker()).stdout)


def test_a_message_that_does_not_fit_waits_for_retry() -> None:
    engine = Talker(n_ctx=9)
    result = talk("a b\r/undo\ra b c d e f g h i\r/system none\r", engine=engine, width=300)
    assert "llamacli chat -c N has a larger context; /retry then sends the message again" in plain(result.stdout)
    assert "system prompt removed" in plain(result.stdout)  # the command did not follow the draft
    engine = Talker(n_ctx=9)
    talk("a b c d e f g h i\r/set temp 0\r/retry\r", engine=engine)
    assert engine.asked == []
    assert engine.messages == [{"role": "user", "content": "a b c d e f g h i"}]


def test_an_option_in_the_other_case_is_suggested() -> None:
    result = invoke("chat", "-c", terminals=TERMINAL)
    assert (result.status, result.stderr) == (2, "llamacli: error: -c needs a value (did you mean -C, --continue?)\n")


# --- widths ------------------------------------------------------------------------------------------------------------

WIDTHS = (40, 60, 80, 200)
LONG = "please tell me something about wonderful mountains and oceans"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", ["/sessions", "/branches", "/stats", "/search mountains", "/params", "/model", "/tools"])
def test_lists_break_between_words_at_any_width(width: int, command: str) -> None:
    talk(f"{LONG}\r", "--session", "a session with a rather long name")
    keys = f"{LONG}\r/set top_k 41\r{command}\r"
    shown, wide = (plain(talk(keys, width=columns).stdout).partition("= 41\n")[2] for columns in (width, 1000))
    values = re.compile(r"\S+,\S+$")  # what could be copied stays whole
    assert all(len(row) < width or values.search(row) for row in shown.splitlines())
    assert {word for word in shown.split() if word.isalpha()} <= set(wide.split())


@pytest.mark.parametrize("width", WIDTHS)
def test_the_rows_of_a_session_hang_under_its_title(width: int) -> None:
    talk(f"{LONG}\r", "--session", "garden")
    out = talk("/sessions\r", width=width).stdout
    first, *more = without_greeting(out).splitlines()
    assert first.startswith("garden  2")
    column = first.index("please") if width > 40 else 4
    assert all(row.startswith(" " * column) and row[column] != " " for row in more)
    assert len(more) == {40: 2, 60: 2, 80: 1, 200: 0}[width]
    assert "mountains" in out


def test_the_list_of_sessions_has_a_line_for_each_in_a_pipe() -> None:
    talk(f"{LONG}\r")
    piped = invoke("chat", "--list", width=40)
    assert len(piped.stdout.splitlines()) == 1
    shown = invoke("chat", "--list", width=40, terminals=TERMINAL)
    assert max(map(len, shown.stdout.splitlines())) < 40
