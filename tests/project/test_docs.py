"""Every command has help, a man page and completions, all up to date; the man pages are free of warnings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fakes import invoke

from llamacli.cli.boundary import INTERRUPTED, PIPE_CLOSED, STATUS, TERMINATED
from llamacli.cli.docs import __main__ as generator
from llamacli.cli.docs.bash import offered
from llamacli.cli.docs.manual import with_manual
from llamacli.cli.docs.pages import Value, read_program, value_of
from llamacli.cli.docs.roff import escaped, styled
from llamacli.cli.docs.topics import ENVIRONMENT, EXIT_STATUS
from llamacli.cli.help.topics import FOLDER, TOPICS, find_topic
from llamacli.cli.registry import COMMANDS, HELPERS, REGISTRY
from llamacli.render.guide.blocks import parse_guide

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = read_program()
PAGES = {" ".join(page.path): page for page in PROGRAM.below()}
LEAVES = {name: page for name, page in PAGES.items() if not page.is_group}
MANUALS = sorted((ROOT / "man").glob("*.[17]"))


def test_man_pages_and_completions_are_up_to_date() -> None:
    assert generator.outdated() == [], "run python3 tests/run.py --fix"


def test_the_generator_writes_changes_and_removes(tmp_path: Path) -> None:
    written = generator.write(tmp_path)
    assert len(written) == 7 + len(with_manual(PROGRAM)) + len(TOPICS)
    assert generator.write(tmp_path) == []
    (tmp_path / "man" / "llamacli-gone.1").touch()
    (tmp_path / "completions" / "llamacli").write_text("")
    assert generator.write(tmp_path) == [Path("completions/llamacli"), Path("man/llamacli-gone.1")]
    assert generator.outdated(tmp_path) == []


@pytest.mark.parametrize("entry", REGISTRY, ids=lambda entry: entry.name)
def test_every_command_has_its_page_with_all_its_options(entry) -> None:
    for owner in with_manual(PROGRAM):
        if owner.path[:1] != (entry.name,):
            continue
        text = (ROOT / "man" / f"{owner.name}.1").read_text()
        plain = text.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "")
        for page in owner.below() if owner.is_group else (owner,):
            for switch in page.switches:
                assert all(name in plain for name in switch.names), (page.path, switch.names)
        for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "ENVIRONMENT", "EXAMPLES", "SEE ALSO"):
            assert f".SH {title}\n" in text
    assert f"\\fBllamacli\\-{entry.name}\\fR(1)" in (ROOT / "man" / "llamacli.1").read_text()


def test_every_guide_has_its_text_and_its_page() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == {topic.name for topic in TOPICS}
    assert {path.name for path in MANUALS if path.suffix == ".7"} == {f"{topic.page}.7" for topic in TOPICS}
    program = (ROOT / "man" / "llamacli.1").read_text()
    for topic in TOPICS:
        text = (ROOT / "man" / f"{topic.page}.7").read_text()
        for title in ("NAME", "DESCRIPTION", "SEE ALSO"):
            assert f".SH {title}\n" in text
        assert f"{escaped(topic.page)}\\fR(7)" in program
        assert {f"llamacli-{name}" for name in topic.commands} <= {page.name for page in with_manual(PROGRAM)}
        assert all(find_topic(name) for name in topic.guides)


def test_the_guide_to_exit_statuses_agrees_with_the_man_pages() -> None:
    text = (FOLDER / "exit-statuses.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", text.replace("\\|", "¦"), re.MULTILINE)
    assert [(int(number), meaning.replace("¦", "|")) for number, meaning in rows] == list(EXIT_STATUS)


def test_markdown_that_a_guide_does_not_support_is_refused() -> None:
    for text in ("1. numbered", "a [link](x)", "> quoted", "*slanted*"):
        with pytest.raises(ValueError, match="does not support"):
            parse_guide(text)


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_explains_itself_and_has_an_example(name: str) -> None:
    page = LEAVES[name]
    assert page.help
    assert page.examples, "an example says more than a list of options"
    for what, line in page.examples:
        assert what.endswith((".", "?"))
        assert "llamacli" in line
        assert name in line
    assert [one.summary for one in (*page.switches, *page.positionals) if not one.summary] == []


@pytest.mark.parametrize("shell", ["llamacli", "_llamacli", "llamacli.fish"])
def test_every_command_and_option_is_completed(shell: str) -> None:
    text = (ROOT / "completions" / shell).read_text()
    for page in PROGRAM.below():
        assert all(word in text for word in page.path)
        for switch in page.switches:
            for name in switch.names:
                word = name if shell != "llamacli.fish" else f"{'-l' if name.startswith('--') else '-[so]'} {name.lstrip('-')}"
                assert re.search(rf"(?<![\w-]){word}(?![\w-])", text), (page.path, name)


def test_help_fits_a_screen_of_24_lines_with_the_commands_first() -> None:
    result = invoke("--help", width=80)
    lines = result.stdout.splitlines()
    assert len(lines) <= 23  # and the prompt below it
    assert max(map(len, lines)) <= 80
    titles = [line.partition(":")[0] for line in lines if re.match(r"[A-Z][a-z ]+:", line)]
    assert titles == ["Usage", COMMANDS, HELPERS, "Options", "Examples"]
    commands = [entry.name for entry in REGISTRY if entry.panel == COMMANDS]
    start = lines.index(f"{COMMANDS}:") + 1
    assert [line.split()[0] for line in lines[start : start + len(commands)]] == commands


@pytest.mark.parametrize("name", LEAVES)
@pytest.mark.parametrize("width", [80, 200])
def test_the_help_of_a_command_is_a_page_of_common_options(name: str, width: int) -> None:
    page = LEAVES[name]
    shown = invoke(*page.path, "--help", width=width).stdout
    whole = invoke(*page.path, "--help-all", width=width).stdout
    assert len(shown.splitlines()) <= 45
    assert all("--help-all" in " ".join(text.split()) for text in (shown, whole))
    assert all(re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", whole) for one in page.switches for option in one.names)
    if shown != whole:
        assert f"--help-all shows all {len(page.switches)} options" in " ".join(shown.split())
        assert shown.split("Examples:")[1].count("  llamacli") <= 3


def test_an_example_of_a_group_has_its_words_above_it_where_there_is_no_room_beside_it() -> None:
    assert "  llamacli models list                          # List the models\n" in invoke("models", "--help", width=80).stdout
    assert "  # List the models.\n  llamacli models list\n" in invoke("models", "--help", width=50).stdout


@pytest.mark.parametrize("name", LEAVES)
def test_common_options_come_last_in_help(name: str) -> None:
    assert LEAVES[name].sections[-1].title == "Common"


def test_every_exit_status_is_explained() -> None:
    assert {number for number, _ in EXIT_STATUS} == {0, *(status for _, status in STATUS), INTERRUPTED, PIPE_CLOSED, TERMINATED}


def test_every_variable_that_is_explained_is_read() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "llamacli").rglob("*.py") if path.name != "topics.py")
    for names, _, _ in ENVIRONMENT:
        for name in names.split(", "):
            if name not in ("LLAMACLI_...", "LLAMACLI_MODEL"):
                assert f'"{name}"' in sources, name


@pytest.mark.skipif(not shutil.which("man") or not shutil.which("groff"), reason="no man or no groff")
@pytest.mark.parametrize("path", MANUALS, ids=lambda path: path.name)
@pytest.mark.parametrize("width", [60, 80])
def test_man_pages_render_without_warnings(path: Path, width: int) -> None:
    environ = {**os.environ, "MANWIDTH": str(width), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["man", "--warnings", "-l", path], env=environ, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert re.search(r"^NAME\n +llamacli", done.stdout, re.MULTILINE)
    assert width < 80 or [line for line in done.stdout.splitlines() if len(line) > width] == []


@pytest.mark.skipif(not shutil.which("mandoc"), reason="no mandoc")
@pytest.mark.parametrize("path", MANUALS, ids=lambda path: path.name)
def test_mandoc_finds_nothing_but_that_there_is_no_date(path: Path) -> None:
    done = subprocess.run(["mandoc", "-T", "lint", path], capture_output=True, text=True, check=False)
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


@pytest.mark.parametrize(
    "shell",
    [
        ("bash", "llamacli"), ("zsh", "_llamacli"), ("fish", "llamacli.fish"),
        ("bash", "keys.bash"), ("zsh", "keys.zsh"), ("fish", "keys.fish"),
    ],
    ids=lambda one: one[1],
)  # fmt: skip
def test_shells_can_read_the_completions(shell: tuple[str, str]) -> None:
    if not shutil.which(shell[0]):
        pytest.skip(f"no {shell[0]}")
    done = subprocess.run([shell[0], "-n", ROOT / "completions" / shell[1]], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("use --no-mmap here", r"use \fB\-\-no\-mmap\fR here"),
        ("a well-known word", r"a well\-known word"),
        ("`llamacli models list` tells", r"\fBllamacli models list\fR tells"),
        ("ends in \\n", r"ends in \(rsn"),
        ("TOKEN=±BIAS", r"TOKEN=\[u00B1]BIAS"),
        ('it\'s "so"', r"it\(aqs \(dqso\(dq"),
    ],
)
def test_text_is_escaped_for_man(text: str, expected: str) -> None:
    assert styled(text) == expected


def test_nothing_that_is_escaped_reads_as_a_request() -> None:
    assert "\\" not in escaped("plain words.")
    assert escaped("\\fBx") == r"\(rsfBx"


@pytest.mark.parametrize(
    ("metavar", "path", "value"),
    [
        ("FILE", (), Value(files="*")),
        ("PATH[:SCALE]", (), Value(files="*")),
        ("NAME|FILE", (), Value(files="*")),
        ("auto|all|N", (), Value(words=("auto", "all"))),
        ("MODEL", ("run",), Value(dynamic="models", files=".gguf")),
        ("TEXT", ("run",), Value()),
        ("N", ("run",), Value()),
        ("TOPIC", ("help",), Value(words=(*(topic.name for topic in TOPICS), *(entry.name for entry in REGISTRY)))),
    ],
)
def test_what_a_value_is_called_tells_how_it_is_completed(metavar: str, path: tuple[str, ...], value: Value) -> None:
    assert value_of(metavar, "", (), path) == value


def test_chat_templates_are_completed_by_name_or_file() -> None:
    for name in ("run", "tokenize"):
        (switch,) = (switch for switch in LEAVES[name].switches if "--chat-template" in switch.names)
        assert switch.value is not None
        assert {"chatml", "llama3", "functionary"} <= set(switch.value.words)
        assert switch.value.files == "*"


def test_words_that_a_shell_would_not_take_as_they_are_are_refused() -> None:
    with pytest.raises(ValueError, match="not safe"):
        offered(Value(words=("$(id)",)))
