"""Templates in every format: what their files become, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamacli.errors import UsageError
from llamacli.store.templates.library import Found, create, load, locate, read, templates
from llamacli.store.templates.text import TemplateText, Variable


def parsed(tmp_path: Path, name: str, text: str):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return read(Found("x", file, "user"))


@pytest.mark.parametrize(
    ("parse", "text", "parts"),
    [
        (TemplateText.with_braces, "a {b} c", ("a ", Variable("b"), " c")),
        (TemplateText.with_braces, "{a}{b-c}", (Variable("a"), Variable("b-c"))),
        (TemplateText.with_braces, "{{a}}", ("{", "a", "}")),
        (TemplateText.with_braces, '{"k": 1} { x } {1} {', ('{"k": 1} { x } {1} {',)),
        (TemplateText.with_braces, "", ()),
        (TemplateText.with_dollars, "$a ${b} $$5 $5", (Variable("a"), " ", Variable("b"), " ", "$", "5 $5")),
        (TemplateText.with_double_braces, "{{a}} {{ b }} {c} {{x:y}}", (Variable("a"), " ", Variable("b"), " {c} {{x:y}}")),
        (TemplateText.literal, "{a}", ("{a}",)),
    ],
)
def test_text(parse, text, parts) -> None:
    assert parse(text).parts == parts


def test_a_value_is_not_read_again() -> None:
    assert TemplateText.with_braces("{a} {b}").fill({"a": "{b}", "b": "2"}) == "{b} 2"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.toml", 'description = "D"\nsystem = "S"\nprompt = "P {v}"\n[variables]\nv = 3\n[options]\ntemp = 0\n'),
        ("x.md", "+++\ndescription = 'D'\nsystem = 'S'\nvariables = {v = 3}\noptions = {temp = 0}\n+++\n\nP {v}\n"),
        ("x.md", "---\ndescription: D\nsystem: S\nvariables: {v: 3}\noptions:\n  temp: 0\n---\nP {v}\n"),
    ],
)
def test_own_formats(tmp_path, name, text) -> None:
    found = parsed(tmp_path, name, text)
    assert (found.description, found.names, dict(found.variables), dict(found.options)) == (
        "D",
        ("v",),
        {"v": "3"},
        {"temp": 0},
    )
    assert found.system.fill({}) == "S"
    assert found.prompt.fill(found.values({"v": "4"})) == "P 4"


def test_markdown_without_front_matter_is_the_prompt(tmp_path) -> None:
    assert parsed(tmp_path, "x.md", "# Hello\n\n{input}\n").prompt.fill({"input": "!"}) == "# Hello\n\n!"


def test_llm(tmp_path) -> None:
    text = (
        "model: gpt-5\nsystem: You are $who\nprompt: |\n  Do $input for $$5\ndefaults:\n  who: me\n"
        "options:\n  temperature: 0.5\n  shape: round\nschema_object:\n  type: object\nextract: true\n"
        "functions: |\n  import os\n"
    )
    found = parsed(tmp_path, "x.yaml", text)
    assert found.system.fill({"who": "it"}) == "You are it"
    assert found.prompt.fill({"input": "it"}) == "Do it for $5\n"
    assert dict(found.options) == {"temp": 0.5, "json-schema": '{"type": "object"}', "extract": True}
    assert found.notes == (
        "functions is not used", "the option shape is not used", "its model gpt-5 is not used; -m selects one",
    )  # fmt: skip


def test_fabric(tmp_path) -> None:
    (tmp_path / "wisdom").mkdir()
    (tmp_path / "wisdom" / "system.md").write_text("# IDENTITY\nYou find {{what}}. You are short.\n# INPUT\n{{input}}\n")
    (tmp_path / "wisdom" / "user.md").write_text("Text: {{input}}\n")
    found = load(str(tmp_path / "wisdom"))
    assert (found.name, found.description, found.names) == ("wisdom", "You find {{what}}", ("what",))
    assert found.system.fill({"what": "ideas"}).startswith("# IDENTITY\nYou find ideas.")
    assert found.prompt.fill({"input": "x"}) == "Text: x"


def test_modelfile(tmp_path) -> None:
    text = (
        "# a comment: FROM nothing\nFROM llama3.2:1b\nPARAMETER temperature 0.2\nPARAMETER num_ctx 4096\n"
        'PARAMETER stop "<|end|>"\nPARAMETER stop User:\nPARAMETER vocab_only true\n'
        'SYSTEM """\nYou are {not a variable}.\nFROM here on.\n"""\nTEMPLATE """{{ .System }}<|im_start|>"""\n'
        'ADAPTER ./a.gguf\nMESSAGE user Hi there\nMESSAGE assistant "Hello!"\nLICENSE """\nMIT\n"""\n'
    )
    found = parsed(tmp_path, "Modelfile", text)
    assert dict(found.options) == {
        "model": "ollama:llama3.2:1b", "temp": 0.2, "ctx-size": 4096, "stop": ["<|end|>", "User:"],
        "chat-template": "chatml", "lora": ["./a.gguf"],
    }  # fmt: skip
    assert found.system.fill({}) == "You are {not a variable}.\nFROM here on.\n"
    assert found.messages == (("user", "Hi there"), ("assistant", "Hello!"))
    assert found.notes == (
        "the parameter vocab_only is not used", "for its TEMPLATE, a Go template, the chat template chatml is used",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "model"),
    [
        ("./m.gguf", "./m.gguf"), ("m.GGUF", "m.GGUF"), ("hf.co/u/r:Q4_K_M", "hf:u/r:Q4_K_M"),
        ("user/m:7b", "ollama:user/m:7b"),
    ],
)  # fmt: skip
def test_the_model_of_a_modelfile(tmp_path, value, model) -> None:
    assert parsed(tmp_path, "a.modelfile", f"from {value}\n").options["model"] == model


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.toml", "prompt = ", "invalid TOML"),
        ("x.toml", "promt = 'x'", "unknown key promt (did you mean prompt?)"),
        ("x.toml", "temp = 1", "options such as temp belong in [options]"),
        ("x.toml", "prompt = 3", "prompt must be text"),
        ("x.toml", "options = 3", "options must be a table"),
        ("x.toml", "prompt = 'x'\nvariables = {a = [1]}", "the default of a must be text or a number"),
        ("x.toml", "prompt = 'x'\nvariables = {a = 1}", "a has a default, but the template does not use it"),
        ("x.toml", "system = '{input}'", "cannot be part of the system prompt"),
        ("x.toml", "", "the template is empty"),
        ("x.md", "---\nsystem: x\n", "the front matter has no end"),
        ("x.md", "---\nprompt: x\n---\n", "prompt is the text below"),
        ("x.md", "---\n- a\n---\nx", "expected keys and values"),
        ("x.yaml", "a: [", "invalid YAML at line 1"),
        ("x.yaml", "a: !!python/object/apply:os.system ['true']", "invalid YAML"),
        ("x.yaml", "[" * 5000, "nested too deeply"),
        ("x.yaml", "system: $input", "cannot be part of the system prompt"),
        ("Modelfile", "FROM \n", "FROM names no model"),
        ("Modelfile", "FROM x\nPARAMETER top_k many\n", "the parameter top_k is not a number: many"),
        ("Modelfile", "FROM x\nMESSAGE cook Hi\n", "MESSAGE needs a role"),
        ("x.txt", "hello", "has no format of templates"),
    ],
)
def test_mistakes(tmp_path, name, text, says) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(tmp_path, name, text)
    assert says in str(caught.value)


@pytest.mark.parametrize(("data", "says"), [(b"\xff", "not UTF-8"), (b"x" * ((1 << 20) + 1), "larger than 1 MiB")])
def test_files_that_are_no_text(tmp_path, data, says) -> None:
    (tmp_path / "x.toml").write_bytes(data)
    with pytest.raises(UsageError, match=says):
        load(str(tmp_path / "x.toml"))


def test_the_project_comes_before_the_user_and_the_built_in(tmp_path, monkeypatch) -> None:
    assert locate("translate").scope == "built-in"
    create("translate", "prompt = 'mine'", project=False)
    assert locate("translate").scope == "user"
    (tmp_path / ".llamacli" / "templates").mkdir(parents=True)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    create("translate", "prompt = 'ours'", project=True)
    assert locate("translate").path == tmp_path / ".llamacli" / "templates" / "translate.toml"
    assert [one.name for one in templates()].count("translate") == 1


def test_templates_of_llm_and_fabric_are_found(isolated_home) -> None:
    llm = isolated_home / ".config" / "io.datasette.llm" / "templates"
    llm.mkdir(parents=True)
    (llm / "a.yaml").write_text("prompt: x")
    pattern = isolated_home / ".config" / "fabric" / "patterns" / "b"
    pattern.mkdir(parents=True)
    (pattern / "system.md").write_text("Be b.")
    assert load("llm:a").prompt.fill({}) == "x"
    assert load("fabric:b").system.fill({}) == "Be b."


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "x" * 101, "a b"])
def test_names_that_would_leave_the_folder(name) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        create(name, "", project=False)
