"""`llamacli chat` on a real terminal: the program in a pane of tmux, driven by keys, the screen read back."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tmux import Pane, Tmux, missing
from tool_calls import called

from llamacli.repl import dispatch
from llamacli.repl.commands.registry import COMMANDS
from llamacli.store.sessions.store import SessionStore

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

ROOT = Path(__file__).parents[2]
PROGRAM = str(ROOT / "tests" / "support" / "chat_program.py")
READY = "\ndemo"
"""The model's name at the beginning of the status bar as soon as there is a prompt line."""


@pytest.fixture(scope="module")
def tmux() -> Iterator[Tmux]:
    with Tmux() as server:
        yield server


class Home:
    """A user's home, in which conversations are begun."""

    def __init__(self, tmux: Tmux, path: Path) -> None:
        self.path = path
        self._tmux = tmux
        self._scenes = 0

    def chat(self, *arguments: str, width: int = 80, height: int = 24, scene: dict | None = None) -> Pane:
        """A conversation with an engine that does what `scene` says (see `chat_program`), as soon as its prompt is there."""
        environ = {"HOME": str(self.path), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        self._scenes += 1
        file = self.path / f"scene{self._scenes}.json"
        file.write_text(json.dumps(scene or {}))
        command = [sys.executable, PROGRAM, str(file), "chat", *arguments]
        pane = self._tmux.start(command, environ=environ, width=width, height=height)
        pane.wait(READY)
        return pane

    def saved(self, session: int = 1) -> list[tuple[str, str]]:
        """Roles and texts of a session."""
        path = self.path / ".local" / "share" / "llamacli" / "sessions" / "sessions.db"
        with closing(SessionStore(path)) as store:
            return [(one.document["role"], one.document["content"]) for one in store.messages(session)]


@pytest.fixture
def home(tmux: Tmux, tmp_path: Path) -> Home:
    return Home(tmux, tmp_path)


def leave(pane: Pane) -> None:
    """Ctrl-D on an empty line ends the program."""
    pane.keys("C-d")
    assert pane.wait_for_end() == 0


def words(count: int) -> str:
    return " ".join(f"word{number}" for number in range(count))


def test_a_paste_of_many_lines_stays_whole(home: Home) -> None:
    pane = home.chat(scene={"answers": ["I see."]})
    pasted = "first line\n\tsecond, indented\n\n/undo is text here\nlast"
    pane.paste(pasted)
    pane.wait("last")
    assert "I see." not in pane.everything()
    pane.keys("Enter")
    pane.wait("I see.")
    leave(pane)
    assert home.saved() == [("user", pasted), ("assistant", "I see.")]


def test_ctrl_c_while_the_prompt_is_read_brings_the_message_back(home: Home) -> None:
    pane = home.chat(scene={"answers": ["Now I answer."], "reading": 1000})
    pane.say("a question")
    pane.wait("reading the prompt")
    pane.keys("C-c")
    pane.wait("reading the prompt", gone=True)
    pane.wait(READY)
    pane.type(" and more")
    pane.wait("> a question and more")
    pane.keys("C-c")
    pane.wait("> a question and more", times=1, gone=True)
    pane.keys("C-c")
    pane.wait("Ctrl-D leaves")
    leave(pane)


def test_ctrl_c_in_the_middle_of_an_answer_keeps_it(home: Home) -> None:
    pane = home.chat(scene={"answers": [words(5000), "Something else."], "pause": 0.01})
    pane.say("Count.")
    pane.wait("word5")
    pane.keys("C-c")
    pane.wait("[stopped]")
    pane.say("Go on.")
    pane.wait("Something else.")
    leave(pane)
    saved = home.saved()
    assert [role for role, _ in saved] == ["user", "assistant", "user", "assistant"]
    assert saved[1][1].startswith("word0 word1 ")
    assert len(saved[1][1]) < len(words(5000))


def test_what_is_typed_while_an_answer_is_written_waits_for_the_prompt_line(home: Home) -> None:
    pane = home.chat(scene={"answers": [words(60), "The second."], "pause": 0.01})
    pane.say("Count.")
    pane.wait("word3")
    pane.say("typed early")
    pane.wait("The second.")
    leave(pane)
    assert home.saved()[2] == ("user", "typed early")
    assert "typed early" not in home.saved()[1][1]


def test_resizing_in_the_middle_of_an_answer_leaves_a_sound_screen(home: Home) -> None:
    pane = home.chat(scene={"answers": [f"Begin.\n\n{words(200)}\n\nThe end."], "pause": 0.005})
    pane.say("Count.")
    pane.wait("word20")
    pane.resize(50, 20)
    pane.wait("word80")
    pane.resize(120, 30)
    pane.wait("The end.")
    pane.say("/stats")
    shown = pane.wait("generated")
    assert shown.count("word199") == 1
    assert [int(number) for number in re.findall(r"\bword(\d+)\b", shown)][-40:] == list(range(160, 200))
    leave(pane)
    assert home.saved()[1][1] == f"Begin.\n\n{words(200)}\n\nThe end."


@pytest.mark.parametrize("width", [40, 80, 200])
def test_answers_fit_any_width(home: Home, width: int) -> None:
    code = "print('" + "x" * 60 + "')"
    table = "| left | right |\n|---|---|\n| one two three four five | six |"
    answer = f"# Title\n\n{words(30)}\n\n{table}\n\n```python\n{code}\n```\n\nEnd."
    pane = home.chat(width=width, scene={"answers": [answer]})
    pane.say("A long question that does not fit into forty columns at all.")
    pane.wait("End.")
    screen = pane.wait(READY)
    assert max(map(len, screen.splitlines())) <= max(
        width, len("> A long question that does not fit into forty columns at all.")
    )
    assert "x" * 25 in screen
    assert not any(re.search(r"word\d*$\n *\d+ ", line) for line in screen.splitlines())
    assert len(re.findall(r"\bword\d+\b", screen)) == 30
    leave(pane)


def test_the_menu_of_commands_shows_whole_summaries(home: Home) -> None:
    pane = home.chat()
    assert dispatch.COMMAND_MODULES
    pane.type("/t")
    pane.keys("Tab")
    for name in ("tokens", "think", "tools"):
        assert COMMANDS[name].summary in pane.wait(COMMANDS[name].summary)
    pane.keys("C-c")
    leave(pane)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_lists_do_not_break_words(home: Home, width: int) -> None:
    pane = home.chat("--session", "garden", width=width, scene={"answers": ["Mountains everywhere."]})
    pane.say("please tell me something about wonderful mountains")
    pane.wait("everywhere.")
    pane.say("/sessions")
    pane.wait("garden  ")
    pane.say("/branches")
    pane.wait("* 1  2 messages")
    pane.say("/stats")
    lines = pane.wait("finished").splitlines()
    rows = [row for row in lines[lines.index("> /sessions") :] if not row.startswith("demo")]  # without the status bar
    assert max(map(len, rows)) < width
    for phrase in ("about wonderful mountains", "2 messages, last: Mountains everywhere.", "generated 6 tokens at"):
        assert phrase in " ".join(" ".join(rows).split())
    leave(pane)


def test_no_colour_means_no_colour(home: Home) -> None:
    pane = home.chat("--color", "never", scene={"answers": ["**bold** and `code`\n\n```python\nprint(1)\n```"]})
    pane.say("Hi")
    pane.wait("print(1)")
    pane.say("/nonsense")
    pane.wait("unknown command")
    assert not re.search(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]", pane.escapes())
    leave(pane)


def test_a_conversation_is_taken_up_again(home: Home) -> None:
    pane = home.chat("--session", "work", scene={"answers": ["The *first* answer."]})
    pane.say("Remember this.")
    pane.wait("The first answer.")
    leave(pane)
    pane = home.chat("--continue", scene={"answers": ["The second."]})
    shown = pane.wait("session work: 2 messages")
    assert "> Remember this." in shown
    pane.wait("The first answer.")
    pane.keys("Up")
    pane.wait("> Remember this.", times=2)
    pane.keys("C-c")
    pane.say("And?")
    pane.wait("The second.")
    leave(pane)
    assert [role for role, _ in home.saved()] == ["user", "assistant", "user", "assistant"]


def test_nothing_shown_is_lost_by_kill_9(home: Home) -> None:
    pane = home.chat(scene={"answers": [words(5000)], "pause": 0.01})
    pane.say("Count.")
    pane.wait("word30")
    os.kill(pane.process, signal.SIGKILL)
    pane.wait_for_end()
    shown = [int(number) for number in re.findall(r"\bword(\d+) ", pane.everything())]
    saved = home.saved()
    assert saved[0] == ("user", "Count.")
    assert f"word{max(shown)} " in saved[1][1] + " "
    pane = home.chat("--continue", scene={"answers": ["Well."]})
    pane.wait(f"word{max(shown)}")
    pane.say("And?")
    pane.wait("Well.")
    leave(pane)


def test_two_conversations_at_once(home: Home) -> None:
    one = home.chat("--session", "one", scene={"answers": [words(150)], "pause": 0.01})
    two = home.chat("--session", "two", scene={"answers": ["Two."]})
    one.say("First?")
    one.wait("word3")
    two.say("Second?")
    two.wait("Two.")
    two.say("/load one")
    two.wait("is open in another llamacli chat")
    one.wait("word149")
    leave(one)
    leave(two)
    assert home.saved(1) == [("user", "First?"), ("assistant", words(150))]
    assert home.saved(2) == [("user", "Second?"), ("assistant", "Two.")]


# --- tools ------------------------------------------------------------------------------------------------------------


def tools(home: Home, program: str) -> str:
    """A file with one tool, which runs a Python program."""
    function = {"name": "look", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}
    (home.path / "look.py").write_text(program)
    entry = {"type": "function", "function": function, "command": [sys.executable, "look.py"], "cwd": "."}
    (home.path / "tools.json").write_text(json.dumps([entry]))
    return str(home.path / "tools.json")


def test_a_tool_is_asked_for_and_what_was_typed_before_is_no_consent(home: Home) -> None:
    file = tools(home, "print('it was run')")
    scene = {"answers": [called(place="Paris"), "I looked."], "calls": True, "pause": 0.05}
    pane = home.chat("--tools", file, scene=scene, width=40)
    pane.say("Look!")
    pane.say("y")  # long before the question
    pane.wait("run it?")
    assert "it was run" not in pane.everything()
    pane.say("a")
    pane.wait("I looked.")
    assert "it was run" in pane.everything()
    pane.wait("nothing more to say")  # the answer to `y`, which was a message
    leave(pane)
    assert [role for role, _ in home.saved()] == ["user", "assistant", "tool", "assistant", "user", "assistant"]


def test_ctrl_c_kills_a_tool(home: Home) -> None:
    pid = home.path / "pid"
    file = tools(home, f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    pane = home.chat("--tools", file, "--allow-tool", "look", scene={"answers": [called(), "Well."], "calls": True})
    pane.say("Look!")
    deadline = time.monotonic() + 30
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < deadline, pane.screen()
        time.sleep(0.02)
    pane.keys("C-c")
    pane.wait("[stopped by the user]")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    pane.say("Go on.")
    pane.wait("Well.")
    leave(pane)


# --- hostile text -----------------------------------------------------------------------------------------------------

HOSTILE = (
    "\x1b]0;TITLE\x07\x1b]2;TITLE\x1b\\\x1bkNAME\x1b\\\x1b]52;c;aGFja2Vk\x07\x1bPtmux;\x1b\x1b]52;c;aGFja2Vk\x07\x1b\\"
    "\x1b[2J\x1b[H\x1b[?25l\x1b[8mHIDDEN\x9b31m\x90q\x9c\x1b[30;40msafe\rOVERA\u202eB\u200bC\x08\x08\x7f\x1bc\x0eSHIFTED"
)
"""Sequences that change the title and the window's name, write the clipboard, clear, hide, reorder, overwrite and reset."""


def check_unharmed(pane: Pane) -> None:
    """The terminal is as it was: title, name, clipboard, cursor, and nothing that was on the screen is gone."""
    assert "TITLE" not in pane.ask("#{pane_title} #{window_name}")
    assert "NAME" not in pane.ask("#{window_name}")
    assert pane.ask("#{cursor_flag}") == "1"
    assert "hacked" not in pane.buffers()
    shown = pane.everything()
    for mark in ("HIDDEN", "safe", "OVER", "SHIFTED", "u202e", "u200b", "MARKER"):
        assert mark in shown, f"{mark} is not to be seen:\n{shown}"
    assert "\u202e" not in shown
    assert "\u200b" not in shown
    assert not re.search(r"\x1b\[[0-9;]*8m|\x1b\]|\x1bP|\x1bk", pane.escapes())


@pytest.mark.parametrize("flags", [(), ("--plain",)])
def test_the_model_cannot_steer_the_terminal(home: Home, flags: tuple[str, ...]) -> None:
    pane = home.chat(*flags, scene={"answers": [f"MARKER {HOSTILE}\n\n```\n{HOSTILE}\n```\n\n[{HOSTILE}](http://x) done"]})
    pane.say("Hi")
    pane.wait("done")
    check_unharmed(pane)
    leave(pane)


def test_tools_cannot_steer_the_terminal(home: Home) -> None:
    file = tools(home, f"import sys; sys.stdout.buffer.write({HOSTILE.encode()!r}); print('MARKER'); sys.exit({HOSTILE!r})")
    answers = [called(place=HOSTILE), "It is done."]
    pane = home.chat("--tools", file, scene={"answers": answers, "calls": True}, width=200)
    pane.say("Look!")
    pane.wait("run it?")
    assert "\\u202e" in pane.everything()
    assert "\\u001b]52;c;aGFja2Vk\\u0007" in pane.everything()
    pane.say("y")
    pane.wait("It is done.")
    pane.say("/tools last")
    pane.wait("standard error", times=2)
    check_unharmed(pane)
    leave(pane)


def test_names_of_files_and_sessions_cannot_steer_the_terminal(home: Home) -> None:
    name = HOSTILE.replace("/", "").replace("\x90q\x9c", "")
    (home.path / f"MARKER{name}.txt").write_text("text")
    pane = home.chat(width=200, scene={"answers": ["Fine."]})
    pane.type(f"/file {home.path}/MARKER")
    pane.keys("Tab")
    pane.wait(".txt")
    pane.keys("Enter")
    pane.wait("sent with the next message")
    check_unharmed(pane)
    leave(pane)


# --- job control ------------------------------------------------------------------------------------------------------


def shell_chat(tmux: Tmux, home: Home, scene: dict) -> Pane:
    """A conversation started from an interactive shell."""
    (home.path / "scene.json").write_text(json.dumps(scene))
    environ = {"HOME": str(home.path), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "PS1": "shell> "}
    pane = tmux.start(["bash", "--norc", "--noprofile"], environ=environ)
    pane.wait("shell>")
    pane.say(f"{sys.executable} {PROGRAM} {home.path}/scene.json chat")
    pane.wait("demo")
    return pane


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_ctrl_z_suspends_the_prompt_line(tmux: Tmux, home: Home) -> None:
    pane = shell_chat(tmux, home, {"answers": ["Here I am."]})
    pane.type("half a ")
    pane.wait("> half a")
    pane.keys("C-z")
    pane.wait("Stopped")
    pane.say("echo in the $((40 + 2)) shell")
    pane.wait("in the 42 shell")
    pane.say("fg")
    pane.wait("> half a")
    pane.say("message")
    pane.wait("Here I am.")
    assert "> half a message" in pane.screen()
    assert "^Z" not in pane.screen()
    pane.keys("C-d")
    pane.wait("shell>", times=4)
    assert home.saved() == [("user", "half a message"), ("assistant", "Here I am.")]
    pane.say("stty -a | grep -o -- '-*echo '")
    pane.wait("\necho")
    pane.keys("C-d")
    pane.wait_for_end()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_ctrl_z_suspends_an_answer(tmux: Tmux, home: Home) -> None:
    pane = shell_chat(tmux, home, {"answers": [f"Begin.\n\n{words(120)}\n\nThe end.", "Next."], "pause": 0.02})
    pane.say("Count.")
    pane.wait("word20 ")
    pane.keys("C-z")
    pane.wait("Stopped")
    pane.say("fg")
    pane.wait("word60 ")
    pane.say("typed early")  # neither echoed nor lost
    pane.wait("The end.")
    shown = pane.wait("Next.")
    assert "Stopped" in shown
    after = shown[shown.index("fg\n") :]
    assert [int(number) for number in re.findall(r"\bword(\d+)\b", after)] == list(range(120))
    assert after.count("typed early") == 1
    pane.keys("C-d")
    pane.wait("shell>", times=3)
    assert home.saved()[1:3] == [("assistant", f"Begin.\n\n{words(120)}\n\nThe end."), ("user", "typed early")]
    pane.keys("C-d")
    pane.wait_for_end()
