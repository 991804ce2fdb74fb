"""`llamacli templates`, and templates in `run` and `chat`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from examples import FILES, ROOT, prepare
from fakes import FakeEngine, invoke
from row_runs import answers, run

from llamacli.cli.framework.console import Console, Terminals
from llamacli.cli.framework.options import TemplateOptions
from llamacli.cli.framework.settings.templates import fill_template
from llamacli.openai.batch_request import fill
from llamacli.store.files import paths
from llamacli.store.templates.library import create, load, templates

TERMINALS = Terminals(stdin=True, stdout=True, stderr=True)


@pytest.fixture
def mine():
    """Write a template of the user."""

    def write(text: str, name: str = "mine") -> Path:
        return create(name, text, project=False)

    return write


def content(result) -> list[str]:
    assert result.status == 0, result.stderr
    return [f"{message['role']}: {message['content']}" for message in result.engine.messages]


# --- run -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "arguments", "stdin", "messages"),
    [
        ('prompt = "A {input} B"', ["x"], None, ["user: A x B"]),
        ('prompt = "A {input} B"', ["x"], b"piped", ["user: A piped\n\nx B"]),
        ('prompt = "A {input} B"', [], b"{x}", ["user: A {x} B"]),
        ('prompt = "Sum up"', ["x"], None, ["user: x\n\nSum up"]),
        ('prompt = "Sum up"', [], None, ["user: Sum up"]),
        ('system = "S"', ["x"], None, ["system: S", "user: x"]),
        ('system = "S {v}"\nvariables = {v = 1}', ["x", "--var", "v=2=3"], None, ["system: S 2=3", "user: x"]),
        ('system = "S"', ["x", "-sys", "T"], None, ["system: T", "user: x"]),
    ],
)
def test_run_fills_a_template(mine, template, arguments, stdin, messages) -> None:
    mine(template)
    assert content(invoke("run", "-T", "mine", *arguments, stdin=stdin)) == messages


def test_options_lie_between_the_environment_and_the_settings(mine, monkeypatch) -> None:
    mine('prompt = "x"\n[options]\ntemp = 0.1\ntop_k = 7\nmodel = "their.gguf"\nstop = ["a", "b"]')
    settings = paths.settings_file()
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('[defaults]\ntemp = 0.9\ntop-p = 0.5\n[models."their.gguf"]\nmin-p = 0.3\n')
    monkeypatch.setenv("LLAMACLI_TOP_K", "9")
    found = invoke("run", "-T", "mine").engine
    sampling = found.params.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, found.params.stop) == (0.1, 9, 0.5, ("a", "b"))
    assert found.path == paths.templates_dir() / "their.gguf"  # beside the template
    assert invoke("run", "-T", "mine", "--temp", "0.2").engine.params.sampling.temperature == 0.2


def test_the_settings_and_the_environment_may_name_the_template(mine, monkeypatch) -> None:
    mine('system = "S"\nprompt = "one"')
    with monkeypatch.context() as patch:
        patch.setenv("LLAMACLI_PROMPT_TEMPLATE", "mine")
        assert content(invoke("run", environ={"LLAMACLI_PROMPT_TEMPLATE": "mine"})) == ["system: S", "user: one"]
    settings = paths.settings_file()
    settings.write_text('[profiles.p]\nprompt-template = "mine"\n')
    assert content(invoke("run", "--profile", "p")) == ["system: S", "user: one"]


def test_a_constraint_on_the_command_line_takes_the_place_of_the_templates(mine) -> None:
    mine('prompt = "x"\n[options]\nchoices = ["a", "b"]')
    assert '"a" | "b"' in invoke("run", "-T", "mine").engine.constraint.grammar
    assert invoke("run", "-T", "mine", "--regex", "c+").engine.constraint.grammar == 'root ::= "c"+\n'


def test_extract_and_a_schema_as_a_table(mine) -> None:
    mine('prompt = "x"\n[options]\nextract = true')
    assert invoke("run", "-T", "mine", engine=FakeEngine(pieces=("a\n```\n", "code\n```\n"))).stdout == "code\n"
    mine('prompt = "x"\n[options.json-schema]\ntype = "integer"', "number")
    assert invoke("run", "-T", "number", engine=FakeEngine(pieces=("3",))).stdout.strip() == "3"


def test_messages_of_a_modelfile(tmp_path) -> None:
    (tmp_path / "Modelfile").write_text("FROM ./m.gguf\nSYSTEM S\nMESSAGE user a\nMESSAGE assistant b\n")
    result = invoke("run", "-T", str(tmp_path / "Modelfile"), "c")
    assert content(result) == ["system: S", "user: a", "assistant: b", "user: c"]
    assert result.engine.path == tmp_path / "m.gguf"


def test_rows(mine, tmp_path, tiny_model) -> None:
    mine('prompt = "A {{}} {v}: {input}"\nvariables = {v = "{x}"}')
    (tmp_path / "rows.txt").write_text("one\n")
    result = invoke("run", "-T", "mine", "--input", str(tmp_path / "rows.txt"), "--template", "{prompt}")
    assert "--template cannot be used with -T" in result.stderr
    filled = fill_template(Console.system(), TemplateOptions(prompt_template="mine"))
    assert fill(filled.row_template(), {"prompt": "one"}) == "A {} {x}: one"
    rows = answers(run(tiny_model, "-T", "mine", "--input", str(tmp_path / "rows.txt")))
    assert rows == [run(tiny_model, "-T", "mine", "one").stdout.removesuffix("\n")]


@pytest.mark.parametrize(
    ("template", "arguments", "says"),
    [
        ('prompt = "{a}"', [], "needs a value for a (--var a=VALUE sets it)"),
        ('prompt = "{a}"', ["--var", "b=1"], "has no variable b (its variables: a)"),
        ('prompt = "x"', ["--var", "b=1"], "has no variable b (it has no variables)"),
        ('prompt = "x"', ["--var", "b"], "'b' is not NAME=VALUE"),
        ('system = "{a}"', ["x", "--var", "b"], "'b' is not NAME=VALUE"),
        ('prompt = "{input}"', [], "the prompt is missing"),
        ('prompt = "x"\n[options]\ntmep = 1', [], "unknown option tmep (did you mean temp?)"),
        ('prompt = "x"\n[options]\ntemp = "a"', [], "temp: expected a number"),
        ('prompt = "x"\n[options]\ntop_k = 1\ntop-k = 2', [], "top-k is set twice"),
        ('prompt = "x"\n[options]\nprofile = "p"', [], "profile is not an option that a template may set"),
        ('prompt = "x"\n[options]\nsystem-prompt = "p"', [], "system is a key of its own"),
        ('prompt = "x"', ["--infill", "a", "b"], "-T cannot be used with --infill"),
    ],
)
def test_mistakes(mine, template, arguments, says) -> None:
    mine(template)
    result = invoke("run", "-T", "mine", *arguments)
    assert result.status == 2
    assert says in result.stderr


def test_templates_of_others_cannot_name_programs(mine, tmp_path) -> None:
    text = 'prompt = "x"\n[options]\ntools = "tools.json"'
    (tmp_path / "theirs.toml").write_text(text)
    result = invoke("run", "-T", str(tmp_path / "theirs.toml"))
    assert (result.status, "sets tools, which can run programs" in result.stderr) == (2, True)
    (mine(text).parent / "tools.json").write_text('[{"type": "function", "function": {"name": "f"}}]')
    assert invoke("run", "-T", "mine").engine.rendering.tools[0].name == "f"


# --- chat ------------------------------------------------------------------------------------------------------------


def test_chat_puts_each_message_into_the_prompt(mine, tmp_path) -> None:
    mine('system = "S"\nprompt = "Say {input}!"')
    (tmp_path / "script").write_text("one\ntwo\n")
    result = invoke("chat", "-T", "mine", "--no-save", "--script", str(tmp_path / "script"))
    users = [line for line in content(result) if not line.startswith("assistant")]
    assert users == ["system: S", "user: Say one!", "user: Say two!"]


def test_chat_begins_with_a_prompt_without_input_after_the_messages(tmp_path) -> None:
    (tmp_path / "t.toml").write_text('prompt = "Begin"')
    (tmp_path / "script").write_text("one\n")
    script = ["--no-save", "--script", str(tmp_path / "script")]
    assert content(invoke("chat", "-T", str(tmp_path / "t.toml"), *script))[0] == "user: Begin"
    (tmp_path / "Modelfile").write_text("FROM m.gguf\nMESSAGE user a\nMESSAGE assistant b\n")
    assert content(invoke("chat", "-T", str(tmp_path / "Modelfile"), *script)) == ["user: a", "assistant: b", "user: one"]


# --- templates -------------------------------------------------------------------------------------------------------


def test_list_and_show(mine) -> None:
    mine('description = "D\\u001b"\nprompt = "{a}"')
    mine("prompt = ", "broken")
    lines = invoke("templates", "list").stdout.splitlines()
    assert any(line.split()[:3] == ["mine", "user", "a"] and "\x1b" not in line for line in lines)
    assert any(line.startswith("broken") and "cannot be used: " in line for line in lines)
    document = {one["name"]: one for one in json.loads(invoke("templates", "list", "--json").stdout)}
    assert document["mine"]["variables"] == {"a": None}
    assert "invalid TOML" in document["broken"]["error"]
    shown = invoke("templates", "show", "translate").stdout
    assert "variables    language=English" in shown
    assert "--- prompt\nTranslate into {language}:" in shown
    assert json.loads(invoke("templates", "show", "translate", "--json").stdout)["options"] == {"temp": 0}


def test_new_writes_a_template_that_works() -> None:
    result = invoke("templates", "new", "mail")
    assert result.stdout == f"{paths.templates_dir() / 'mail.toml'}\n"
    assert content(invoke("run", "-T", "mail", "Hello")) == ["user: Rewrite this text in a friendly tone:\n\nHello"]
    assert "exists" in invoke("templates", "new", "mail").stderr


def test_edit_copies_a_built_in_template(tmp_path) -> None:
    assert "needs a terminal" in invoke("templates", "edit", "translate").stderr
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/Translate into/Put into/' \"$1\"\n")
    editor.chmod(0o755)
    result = invoke("templates", "edit", "translate", terminals=TERMINALS, environ={"EDITOR": str(editor)})
    assert result.status == 0, result.stderr
    assert load("translate").prompt.parts[0] == "Put into "
    editor.write_text('#!/bin/sh\necho "prompt = " > "$1"\n')
    result = invoke("templates", "edit", "translate", terminals=TERMINALS, environ={"EDITOR": str(editor)})
    assert (result.status, "invalid TOML" in result.stderr) == (2, True)


def test_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke("templates", "path").stdout == f"{paths.templates_dir()}\n"
    assert invoke("templates", "path", "--project").stdout == f"{tmp_path / '.llamacli' / 'templates'}\n"
    assert invoke("templates", "path", "title").stdout.endswith("builtin/title.toml\n")


# --- the built-in ones -----------------------------------------------------------------------------------------------

BUILT_IN = [one.name for one in templates() if one.scope == "built-in"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_example_of_a_built_in_template_runs(name, tmp_path, tiny_model) -> None:
    """In a shell, with a tiny model whose answers mean nothing; a constraint must hold all the same."""
    template = load(name)
    assert template.description
    assert f"llamacli run -T {name}" in template.example
    prepare(tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "notes.txt"], cwd=tmp_path, check=True)
    (tmp_path / "notes.txt").write_text(FILES["notes.txt"].replace("Anna", "Bert"))
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "LLAMACLI_MODEL": str(tiny_model), "LLAMACLI_CTX_SIZE": "4096"}
    environ["LLAMACLI_PREDICT"] = "2000" if "json-schema" in template.options else "24"
    line = f'llamacli() {{ "{sys.executable}" -m llamacli "$@"; }}; set -o pipefail; {template.example}'
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    if "extract" in template.options:  # a model that knows no Markdown
        assert (done.returncode, "no complete fenced code block" in done.stderr) == (5, True), done.stderr
        return
    assert done.returncode == 0, done.stderr
    if "choices" in template.options:
        assert done.stdout.strip() in template.options["choices"]
    if "json-schema" in template.options:
        assert json.loads(done.stdout).keys() == set(template.options["json-schema"]["required"])


def test_there_are_a_dozen() -> None:
    assert len(BUILT_IN) >= 12
