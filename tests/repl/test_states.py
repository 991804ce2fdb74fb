"""What is kept of a conversation beside its words: the evaluated state; and going on with another model."""

from __future__ import annotations

import re
import stat
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from talk import Talker, plain, talk

from llamacli.cli.framework.context import open_engine
from llamacli.engine.chat.message import Tool
from llamacli.errors import ModelFileError, ModelNotFoundError
from llamacli.repl import dispatch
from llamacli.repl.app.completer import ChatCompleter
from llamacli.repl.commands.registry import COMMANDS
from llamacli.repl.setup import SessionSetup
from llamacli.store.files import paths
from llamacli.store.sessions import kv_states as session_states
from llamacli.store.sessions.store import SessionStore
from llamacli.tools.outcome import Outcome
from llamacli.tools.setup import ToolSetup
from llamacli.tools.toolbox import Offer, Toolbox

LONG = "a long message about the sea and the wind. " * 12


@pytest.fixture(autouse=True)
def no_prompts_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cached is from the state of the session alone."""
    monkeypatch.setenv("LLAMACLI_PROMPT_CACHE", "off")


def talk_to(model: Path, keys: str, *arguments: str):
    """A conversation with the real engine and a real model."""
    arguments = ("-t", "1", "--temp", "0", "-n", "4", "--ignore-eos", *arguments)
    return talk(keys, *arguments, open_engine=open_engine, find_model=lambda app, reference, *, offline: model)


def folder() -> Path:
    return paths.data_dir() / "sessions"


def cached(stdout: str) -> int:
    """How many tokens of the prompt were in the cache, by /stats."""
    found = re.search(r"\((\d+) cached\)", plain(stdout))
    return int(found[1]) if found else 0


def test_a_conversation_that_goes_on_is_not_evaluated_again(tiny_model: Path) -> None:
    talk_to(tiny_model, f"{LONG}\r")
    file = folder() / "1.state"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.stat().st_mtime_ns
    result = talk_to(tiny_model, "\r", "--continue")
    assert file.stat().st_mtime_ns == before
    result = talk_to(tiny_model, "more\r/stats\r", "--continue")
    assert cached(result.stdout) > len(LONG) / 3
    assert file.stat().st_mtime_ns > before


def test_a_session_that_is_loaded_brings_its_state(tiny_model: Path) -> None:
    talk_to(tiny_model, f"{LONG}\r")
    result = talk_to(tiny_model, f"other {LONG}\r/load 1\rmore\r/stats\r")
    assert cached(result.stdout) > len(LONG) / 3
    assert sorted(file.name for file in folder().glob("*.state")) == ["1.state", "2.state"]
    assert cached(talk_to(tiny_model, "more\r/stats\r", "--session", "2").stdout) > len(LONG) / 3


@pytest.mark.parametrize("damage", ["altered", "truncated", "empty", "missing", "foreign", "directory"])
def test_a_state_that_is_of_no_use_is_no_error(tiny_model: Path, tmp_path: Path, damage: str) -> None:
    import tiny

    talk_to(tiny_model, f"{LONG}\r")
    file = folder() / "1.state"
    data = bytearray(file.read_bytes())
    model = tiny_model
    if damage == "altered":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif damage == "truncated":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "missing":
        file.unlink()
    elif damage == "foreign":
        model = tiny.tiny_model(tmp_path / "other.gguf", seed=99)
    else:
        file.unlink()
        file.mkdir()
    result = talk_to(model, "more\r/stats\r", "--continue")
    assert (result.status, result.stderr) == (0, "")
    assert cached(result.stdout) == 0
    assert "state" not in plain(result.stdout)


def test_a_context_too_small_for_the_state_is_no_error_of_the_state(tiny_model: Path) -> None:
    talk_to(tiny_model, f"{LONG}\r")
    out = plain(talk_to(tiny_model, "more\r", "--continue", "-c", "256").stdout)
    assert "the context 256" in out
    assert "saved state" not in out


def test_states_can_be_switched_off_and_are_not_for_short_talks(tiny_model: Path) -> None:
    talk_to(tiny_model, f"{LONG}\r", "--no-state")
    talk_to(tiny_model, "Hi\r")
    assert list(folder().glob("*.state")) == []
    talk_to(tiny_model, f"{LONG}\r", "--session", "1")
    assert cached(talk_to(tiny_model, "more\r/stats\r", "--session", "1", "--no-state").stdout) == 0


def test_without_saving_there_is_no_state_either(tiny_model: Path) -> None:
    talk_to(tiny_model, f"{LONG}\r", "--no-save")
    assert not paths.data_dir().exists()


def test_a_state_goes_with_its_session_and_when_there_is_no_room(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        talk_to(tiny_model, f"{LONG}\r")
    with closing(SessionStore()) as store:
        store.delete(1)
    assert [file.name for file in folder().glob("*.state")] == ["2.state"]
    monkeypatch.setattr(session_states.SessionStates, "admits", lambda self, size: size < 10)
    talk_to(tiny_model, "more\r", "--session", "2")
    assert list(folder().glob("*.state")) == []


def test_a_disk_that_cannot_be_written_is_no_error(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("llamacli.engine.runtime.state_file.os.fsync", full)
    result = talk_to(tiny_model, f"{LONG}\r")
    assert (result.status, result.stderr) == (0, "")
    assert [file for file in folder().iterdir() if "state" in file.name] == []


def test_a_session_that_is_open_elsewhere_is_left_alone() -> None:
    talk("Hi\r", "--session", "mine")
    store = SessionStore()
    try:
        store.open(1)
        result = talk("", "--session", "mine")
        assert result.status == 2
        assert "is open in another llamacli chat" in result.stderr
        assert "is open in another llamacli chat" in plain(talk("/load mine\r/delete mine\r").stdout)
        assert talk("Hi\r").status == 0
    finally:
        store.close()


# --- another model -------------------------------------------------------------------------------------------------------


def test_the_conversation_goes_on_with_another_model() -> None:
    engine = Talker(answers=[("A1",), ("A2",)])
    result = talk("a\r/model other.gguf\rb\r/model\r/probs\r", engine=engine)
    assert result.status == 0
    assert engine.asked[1] == [("user", "a"), ("assistant", "A1"), ("user", "b")]
    assert engine.path == Path("other.gguf")
    out = plain(result.stdout)
    assert "the conversation continues with other\n" in out
    assert "other: fake 1B Q4_0, context of 4096 tokens" in out
    assert "model other" in plain(talk("", "--continue").stdout)


def test_a_model_that_cannot_be_used_leaves_the_old_one() -> None:
    def find(app, reference, *, offline):
        if reference == "nobody":
            raise ModelNotFoundError("unknown model nobody", hint="did you mean demo?")
        return Path(reference or "demo.gguf")

    class Broken(Talker):
        def open(self, path, model, context, *, child=None, on_load=None):
            if path.name == "broken.gguf":
                raise ModelFileError("broken.gguf is damaged")
            return super().open(path, model, context, child=child, on_load=on_load)

    engine = Broken()
    result = talk("a\r/model nobody\r/model broken.gguf\rb\r/model\r", engine=engine, find_model=find)
    assert result.status == 0
    out = plain(result.stdout)
    assert "did you mean demo?" in out
    assert "cannot load broken; the conversation continues with demo" in out
    assert "broken.gguf is damaged" in out
    assert len(engine.asked) == 2
    assert "demo: fake 1B" in out


def test_another_model_sees_the_whole_conversation(tiny_model: Path, tmp_path: Path) -> None:
    import tiny

    other = tiny.tiny_model(tmp_path / "other.gguf", seed=7)

    def find(app, reference, *, offline):
        return Path(reference) if reference else tiny_model

    arguments = ("-t", "1", "--temp", "0", "-n", "4", "--ignore-eos")
    keys = f"{LONG}\r/model {other}\rmore\r/stats\r/model {tiny_model}\r/regen\r"
    result = talk(keys, *arguments, open_engine=open_engine, find_model=find)
    assert result.status == 0
    assert cached(result.stdout) == 0
    assert "the conversation continues with other" in plain(result.stdout)
    assert "continues with tiny" in plain(result.stdout)


# --- completion ----------------------------------------------------------------------------------------------------------


def completions(text: str, chat=None) -> list[str]:
    found = ChatCompleter(lambda: chat).get_completions(Document(text), CompleteEvent())
    return [text[: len(text) + one.start_position] + one.text for one in found]


class Wanted:
    """As much of a conversation as completion looks at."""

    def __init__(self, store: SessionStore | None, width: int = 80) -> None:
        toolbox = Toolbox(Offer(Tool(name), "test", lambda *_: Outcome("")) for name in ("look", "listen", "write"))
        self.setup = SimpleNamespace(
            screen=SimpleNamespace(size=lambda: (width, 24)),
            models=SimpleNamespace(names=lambda: ["demo", "qwen"]),
            sessions=SessionSetup(store=store),
            tools=ToolSetup(toolbox=toolbox),
        )


def test_arguments_are_completed(tmp_path: Path) -> None:
    assert dispatch.COMMAND_MODULES
    store = SessionStore(tmp_path / "s.db")
    store.create(model="a", name="garden work")
    store.create(model="a")
    chat = Wanted(store)
    assert completions("/mod", chat) == ["/model"]
    assert completions("/model q", chat) == ["/model qwen"]
    assert completions("/load g", chat) == ["/load garden work"]
    assert completions("/delete ", chat) == ["/delete 2", "/delete garden work"]
    assert completions("/set context_shift o", chat) == ["/set context_shift on", "/set context_shift off"]
    assert completions("/set mirostat ", chat) == [f"/set mirostat {value}" for value in (0, 1, 2, "default")]
    assert completions("/set tempe", chat) == ["/set temperature"]
    assert completions("/set nothing ", chat) == []
    assert completions("/tools o", chat) == ["/tools on", "/tools off"]
    assert completions("/tools allow l", chat) == ["/tools allow look", "/tools allow listen"]
    assert completions("/tools off look ", chat) == ["/tools off look listen", "/tools off look write"]
    assert completions("/help reg", chat) == ["/help regen"]
    assert completions("/ex", chat) == ["/exit", "/export"] or completions("/ex", chat) == ["/export", "/exit"]
    assert "/grammar off" in completions("/grammar o", chat)
    assert completions("/load g", Wanted(None)) == []
    store.close()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_menu_of_commands_shows_whole_summaries(width: int) -> None:
    found = list(ChatCompleter(lambda: Wanted(None, width)).get_completions(Document("/"), CompleteEvent()))
    assert len(found) == len(COMMANDS)
    assert max(len(one.display_text) for one in found) + max(len(one.display_meta_text) for one in found) <= width - 8
    shown = {one.text: one.display_text for one in found}
    assert shown["undo"] == "/undo"
    assert shown["tools"] == ("/tools" if width < 120 else COMMANDS["tools"].usage)
    assert shown["set"] in (("/set", "/set NAME VALUE") if width < 120 else ("/set NAME VALUE",))


def test_every_command_of_the_manual_is_there() -> None:
    wanted = (
        "system model set params regen undo edit continue retry branch branches clear file copy export save load sessions "
        "search rename delete tokens context prompt stats think grammar schema tools quit probs pick compact help"
    )
    assert [name for name in wanted.split() if name not in COMMANDS or COMMANDS[name].name != name] == []


def test_the_man_page_lists_every_command() -> None:
    text = (Path(__file__).parents[2] / "man" / "llamacli-chat.1").read_text(encoding="ascii")
    assert [name for name, one in COMMANDS.items() if f"\n\\fB/{one.name}" not in text] == []


def test_another_model_has_its_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("[defaults]\ntemp = 0.5\n[models.other]\ntemp = 0.25\ntop-k = 7\npredict = 9\n")
    monkeypatch.setenv("LLAMACLI_CONFIG", str(settings))
    keys = "/set min_p 0.125\r/params\r/model other\r/params\r/model third\r/params\r"
    shown = plain(talk(keys, "--top-p", "0.75", "-m", "first").stdout).split("continues with")
    values = [dict(re.findall(r"(\w+) = (\S+)", part)) for part in shown]
    wanted = ("temperature", "top_k", "max_tokens", "min_p", "top_p")
    assert [[part[name] for name in wanted] for part in values] == [
        ["0.5", "40", "none", "0.125", "0.75"],
        ["0.25", "7", "9", "0.125", "0.75"],
        ["0.5", "40", "none", "0.125", "0.75"],
    ]
