"""`llamacli config`, and what settings do to other commands."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import tiny
from fakes import Result, invoke

from llamacli.cli.framework.console import Terminals
from llamacli.cli.framework.settings import settings
from llamacli.cli.framework.spellings.option_names import OPTION_NAMES
from llamacli.store.files import paths


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory without a project's settings above it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(*arguments: str, **options: object) -> Result:
    return invoke("config", *arguments, **options)  # type: ignore[arg-type]


def write(content: str, path: Path | None = None) -> Path:
    path = path or paths.settings_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


# --- what settings do --------------------------------------------------------------------------------------------------------


def test_settings_are_the_defaults_of_commands() -> None:
    write("""
        [defaults]
        temp = 0.25
        ctx_size = 1024
        samplers = ["top_k", "temperature"]
        stop = "X"
        mmap = false
        verbose = 0
        device = []
        tensor-split = []
        """)
    engine = invoke("run", "hi").engine
    assert engine.params.sampling.temperature == 0.25
    assert engine.params.sampling.samplers == ("top_k", "temperature")
    assert engine.params.stop == ("X",)
    assert (engine.context.n_ctx, engine.model.mmap) == (1024, False)


def test_the_precedence(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("[defaults]\ntemp = 0.1\ntop-k = 1\nmin-p = 0.01\ntop-p = 0.11")
    write("[defaults]\ntemp = 0.2\ntop-k = 2\nmin-p = 0.02", project / ".llamacli.toml")
    monkeypatch.setenv("LLAMACLI_TEMP", "0.3")
    monkeypatch.setenv("LLAMACLI_TOP_K", "3")
    sampling = invoke("run", "--temp", "0.4", "hi").engine.params.sampling
    assert (sampling.temperature, sampling.top_k, sampling.min_p, sampling.top_p, sampling.typical_p) == (
        0.4,
        3,
        0.02,
        0.11,
        1.0,
    )


@pytest.mark.parametrize(
    ("arguments", "environ", "temperature"),
    [
        (("-m", "x.gguf"), {}, 0.1),
        (("--profile", "careful"), {}, 0.0),
        (("--profile=careful",), {}, 0.0),
        ((), {"LLAMACLI_PROFILE": "careful"}, 0.0),
        (("-m", "small"), {}, 0.5),
        (("-msmall",), {}, 0.5),
        (("--model", "demo"), {}, 0.5),
        ((), {"LLAMACLI_MODEL": "small"}, 0.5),
        (("-m", "small", "--profile", "careful"), {}, 0.0),
        (("--profile", "modelled"), {}, 0.5),
    ],
)  # fmt: skip
def test_profiles_and_models(arguments: tuple[str, ...], environ: dict[str, str], temperature: float) -> None:
    write("""
        [defaults]
        temp = 0.1
        [aliases]
        small = "demo"
        [models.demo]
        temp = 0.5
        [profiles.careful]
        temp = 0
        [profiles.modelled]
        model = "small"
        """)
    result = invoke("run", *arguments, "hi", environ=environ)
    assert result.engine.params.sampling.temperature == temperature, result.stderr


@pytest.mark.parametrize(("arguments", "environ"), [(("--profile", "x"), {}), ((), {"LLAMACLI_PROFILE": "x"})])
def test_a_profile_that_there_is_not_is_an_error_without_any_file(arguments: tuple[str, ...], environ: dict[str, str]) -> None:
    result = invoke("run", *arguments, "hi", environ=environ)
    assert result.status == 2
    assert result.stderr == "llamacli: error: unknown profile x (the settings define no profiles)\n"
    assert invoke("run", "hi").status == 0


def test_a_profile_can_be_the_default() -> None:
    write('[defaults]\nprofile = "p"\n[profiles.p]\ntemp = 0\n[profiles.q]\ntemp = 1')
    assert invoke("run", "hi").engine.params.sampling.temperature == 0
    assert invoke("run", "hi", "--profile", "q").engine.params.sampling.temperature == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[defaults]\ntmep = 1", "config.toml:2: unknown option tmep (did you mean temp?)"),
        ("[defaults]\ntemp = '1'", "config.toml:2: temp: expected a number, not the text '1'"),
        ("[defaults]\ntemp = true", "config.toml:2: temp: expected a number, not true"),
        ("[defaults]\ntop-k = 1.5", "config.toml:2: top-k: expected a whole number, not the number 1.5"),
        ("[defaults]\nmmap = 'no'", "config.toml:2: mmap: expected true or false, not the text 'no'"),
        ("[defaults]\ntop-k = [1]", "config.toml:2: top-k: expected one value, not a list"),
        ("[defaults]\nmirostat = 3", "config.toml:2: mirostat: '3' is not one of 0, 1, 2"),
        ("[defaults]\ncolor = 'blue'", "config.toml:2: color: 'blue' is not one of auto, always, never"),
        ("[defaults]\ngpu-layers = 'some'", "config.toml:2: gpu-layers: 'some' is not auto, all or a number from 0"),
        ("[defaults]\nsystem-prompt = 2020-01-01", "config.toml:2: system-prompt: expected text in quotes, not a date"),
        ("[defaults]\nmodel = { a = 1 }", "config.toml:2: model: expected text in quotes, not a table"),
        ("[defaults]\nverbose = true", "config.toml:2: verbose: expected a whole number, not true"),
        ("[defaults]\ntemp = nan", "config.toml:2: temp: 'nan' is not a finite number"),
        ("[defaults]\ntemp", "config.toml:2: expected '=' after a key in a key/value pair"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_line(content: str, message: str) -> None:
    write(content)
    result = invoke("run", "hi")
    assert result.status == 2
    assert result.stderr.startswith(f"llamacli: error: {paths.settings_file().parent}/{message}")


def test_help_and_config_work_with_broken_settings() -> None:
    file = write("[defaults")
    assert invoke("run", "--help").status == 0
    assert config("path").stdout == f"{file}\n"
    assert config("check").status == 2
    assert config("show").status == 2


def test_an_option_of_another_command_is_no_mistake() -> None:
    write("[defaults]\nstats = true\ntemp = 0")
    assert invoke("models", "list").status == 0


def test_an_option_of_another_command_is_known_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[defaults]\nstats = true\nx-y = 1")
    assert invoke("models", "list").status == 2
    write("[defaults]\nstats = true")
    monkeypatch.setattr(settings, "all_keys", lambda: pytest.fail("every command was imported"))
    assert invoke("models", "list").status == 0


def test_the_list_of_option_names_is_up_to_date() -> None:
    assert set(settings.all_keys()) == OPTION_NAMES, "run python -m llamacli.cli.docs"


# --- show and get ------------------------------------------------------------------------------------------------------------


def test_show_is_a_settings_file() -> None:
    write('[defaults]\ntemp = 0.5\nstop = ["a", "b\\n"]\nmmap = false\nmodel = "hf:u/r"')
    result = config("show")
    assert tomllib.loads(result.stdout) == {"temp": 0.5, "stop": ["a", "b\n"], "mmap": False, "model": "hf:u/r"}
    everything = tomllib.loads(config("show", "--all").stdout)
    assert everything["top-k"] == 40
    assert everything["stop"] == ["a", "b\n"]


def test_show_tells_the_origins(project: Path) -> None:
    user = write("[defaults]\ntemp = 0.5\n[profiles.p]\ntop-k = 3")
    write("[defaults]\nmin-p = 0.5", project / ".llamacli.toml")
    result = config("show", "--origin", "--profile", "p", environ={"LLAMACLI_TOP_P": "0.75"})
    assert result.stdout.splitlines() == [
        f"min-p = 0.5    project      {project}/.llamacli.toml [defaults]",
        "profile = \"p\"  flag         --profile",
        f"temp = 0.5     user         {user} [defaults]",
        f"top-k = 3      user         {user} [profiles.p]",
        "top-p = 0.75   environment  LLAMACLI_TOP_P",
    ]  # fmt: skip
    variables = {"LLAMACLI_MODEL": "a", "LLAMACLI_PROFILE": "p"}
    shown = [line.split() for line in config("show", "model", "profile", "--origin", environ=variables).stdout.splitlines()]
    assert [words[2:] for words in shown] == [
        ['"a"', "environment", "LLAMACLI_MODEL"],
        ['"p"', "environment", "LLAMACLI_PROFILE"],
    ]
    variables["LLAMACLI_PROFILE"] = "other"
    flags = ("show", "model", "profile", "--origin", "-m", "b", "--profile", "p")
    shown = [line.split() for line in config(*flags, environ=variables).stdout.splitlines()]
    assert [words[2:] for words in shown] == [['"b"', "flag", "--model"], ['"p"', "flag", "--profile"]]
    document = json.loads(config("show", "--json").stdout)
    assert document["temp"] == {"value": 0.5, "origin": "user", "where": f"{user} [defaults]"}


def test_show_tells_what_the_model_recommends(project: Path) -> None:
    change = {"general.sampling.temp": 0.125, "general.sampling.top_k": 7}
    tiny.tiny_model(project / "m.gguf", change=change)
    write("[defaults]\ntop-k = 9")
    lines = config("show", "-m", "m.gguf", "--origin").stdout.splitlines()
    assert [line.split() for line in lines][-2] == ["temp", "=", "0.125", "model", "m.gguf"]
    assert lines[-1].startswith("top-k = 9")


def test_show_some_options() -> None:
    assert config("show", "top_k", "temp", "--origin").stdout == "top-k = 40  built-in\ntemp = 0.8  built-in\n"
    assert config("show", "model").stdout == "# model: the demo model\n"
    result = config("show", "tmp")
    assert (result.status, result.stderr) == (2, "llamacli: error: unknown option tmp (did you mean temp?)\n")


def test_nothing_is_set() -> None:
    assert config("show").stdout == "No settings: every option has its built-in default.\n"


def test_get() -> None:
    write('[defaults]\ntemp = 0.5\nstop = ["a", "b"]\nmmap = false\n[aliases]\n"a.b" = "demo"\n[profiles."x.y"]\ntop_k = 3')
    for key, value in (("temp", "0.5"), ("defaults.temp", "0.5"), ("stop", "a\nb"), ("mmap", "false"), ("top-k", "40"),
                       ("aliases.a.b", "demo"), ("profiles.x.y.top-k", "3")):  # fmt: skip
        assert config("get", key).stdout == f"{value}\n"
    assert config("get", "temp", environ={"LLAMACLI_TEMP": "1.5"}).stdout == "1.5\n"
    for key, message in (
        ("model", "model is not set (built-in default: the demo model)"),
        ("aliases.zzz", "aliases.zzz is not set"),
        ("profiles.none.temp", "profiles.none.temp is not set"),
    ):
        result = config("get", key)
        assert (result.status, result.stdout, result.stderr) == (1, "", f"llamacli: error: {message}\n")


# --- changing ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "document"),
    [
        (("temp", "0.5"), {"defaults": {"temp": 0.5}}),
        (("temp", "1"), {"defaults": {"temp": 1}}),
        (("temperature", "1"), {"defaults": {"temp": 1}}),
        (("--", "predict", "-1"), {"defaults": {"predict": -1}}),
        (("predict", "-1"), {"defaults": {"predict": -1}}),
        (("predict", "-1", "--color", "never", "-v"), {"defaults": {"predict": -1}}),
        (("tensor-split", "-0.5", "1"), {"defaults": {"tensor-split": [-0.5, 1]}}),
        (("temp", "1", "-v"), {"defaults": {"temp": 1}}),
        (("ctx_size", "8"), {"defaults": {"ctx-size": 8}}),
        (("mmap", "false"), {"defaults": {"mmap": False}}),
        (("flash-attn", "on"), {"defaults": {"flash-attn": "on"}}),
        (("gpu-layers", "all"), {"defaults": {"gpu-layers": "all"}}),
        (("gpu-layers", "12"), {"defaults": {"gpu-layers": 12}}),
        (("system-prompt", "true"), {"defaults": {"system-prompt": "true"}}),
        (("system-prompt", "12"), {"defaults": {"system-prompt": "12"}}),
        (("stop", "a", "b"), {"defaults": {"stop": ["a", "b"]}}),
        (("tensor-split", "3", "1"), {"defaults": {"tensor-split": [3, 1]}}),
        (("model", "hf:u/r:Q4_0"), {"defaults": {"model": "hf:u/r:Q4_0"}}),
        (("aliases.q", "hf:u/r"), {"aliases": {"q": "hf:u/r"}}),
        (("profiles.a b.temp", "0"), {"profiles": {"a b": {"temp": 0}}}),
        (("models.hf:u/r.x:Q4.temp", "0"), {"models": {"hf:u/r.x:Q4": {"temp": 0}}}),
    ],
)  # fmt: skip
def test_set(arguments: tuple[str, ...], document: dict[str, object]) -> None:
    result = config("set", *arguments)
    assert (result.status, result.stdout, result.stderr) == (0, "", "")
    assert tomllib.loads(paths.settings_file().read_text()) == document
    assert config("check").status == 0


def test_paths_become_absolute(project: Path) -> None:
    config("set", "model", "m.gguf")
    config("set", "aliases.m", "./m.gguf")
    assert tomllib.loads(paths.settings_file().read_text()) == {
        "defaults": {"model": str(project / "m.gguf")}, "aliases": {"m": str(project / "m.gguf")}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tmep", "1"), "unknown option tmep (did you mean temp?)"),
        (("temp", "hot"), "temp: expected a number, not the text 'hot'"),
        (("temp", "1", "2"), "temp: expected one value, not a list"),
        (("mmap", "maybe"), "mmap: expected true or false, not the text 'maybe'"),
        (("profiles.temp", "1"), "profiles.temp is incomplete (write profiles.NAME.OPTION)"),
        (("profiles.p.tmep", "1"), "unknown option tmep (did you mean temp?)"),
        (("aliases.a", "b", "c"), "an alias takes one value, the name of a model"),
        (("help", "true"), "unknown option help"),
        (("predict", "--prject", "-1"), "no such option: --prject (did you mean --project?)"),
        (("predict", "-1x"), "no such option: -1x"),
    ],
)  # fmt: skip
def test_what_cannot_be_set(arguments: tuple[str, ...], message: str) -> None:
    result = config("set", *arguments)
    assert result.status == 2
    assert result.stderr.startswith(f"llamacli: error: {message}")
    assert not paths.settings_file().exists()


def test_an_alias_cannot_go_round_in_a_circle() -> None:
    config("set", "aliases.a", "b")
    result = config("set", "aliases.b", "a")
    assert result.status == 2
    assert "is circular: " in result.stderr
    assert "b" not in tomllib.loads(paths.settings_file().read_text())["aliases"]


def test_unset() -> None:
    file = write("# keep\n[defaults]\ntemp = 1\n")
    assert config("unset", "temperature").status == 0
    assert file.read_text().startswith("# keep\n")
    assert config("get", "temp").stdout == "0.8\n"
    result = config("unset", "temp")
    assert result.status == 2
    assert result.stderr.startswith(f"llamacli: error: temp is not set in {file}")


def test_a_mistake_can_be_unset() -> None:
    file = write("[defaults]\ntmep = 1\ntemp = 1\n[profiles.x]\nnosuch = 2\ntemp = 2\n")
    assert config("unset", "tmep").status == 0
    assert config("unset", "profiles.x.nosuch").status == 0
    assert tomllib.loads(file.read_text()) == {"defaults": {"temp": 1}, "profiles": {"x": {"temp": 2}}}
    assert config("check").status == 0


def test_the_projects_file(project: Path) -> None:
    assert config("path", "--project").stdout == f"{project}/.llamacli.toml\n"
    config("set", "--project", "temp", "0.5")
    assert (project / ".llamacli.toml").read_text() == "[defaults]\ntemp = 0.5\n"
    assert not paths.settings_file().exists()
    assert config("unset", "--project", "temp").status == 0


def test_check_tells_everything() -> None:
    file = write("[defaults]\ntmep = 1\ntemp = 'x'\n[aliases]\na = 'b'\nb = 'a'\n")
    result = config("check", environ={"LLAMACLI_TEPM": "1", "LLAMACLI_TOP_K": "many", "LLAMACLI_CONFIG": "x"})
    assert result.status == 2
    assert result.stdout.splitlines() == [
        "environment: unknown variable LLAMACLI_TEPM (did you mean LLAMACLI_TEMP?)",
        "environment: LLAMACLI_TOP_K: expected a whole number, not the text 'many'",
        f"{file}:2: unknown option tmep (did you mean temp?)",
        f"{file}:3: temp: expected a number, not the text 'x'",
        f"{file}:5: the alias a is circular: a -> b -> a",
        f"{file}:6: the alias b is circular: b -> a -> b",
    ]
    assert result.stderr == "llamacli: error: 6 mistakes in the settings\n"


def test_check_goes_on_behind_what_has_the_wrong_shape() -> None:
    file = write("temp = 1\n[defaults]\ntmep = 1\n[aliases]\na = 3\n[profiles]\np = 1\n[profiles.q]\ntop-k = 'x'\n")
    result = config("check")
    assert [line.removeprefix(f"{file}:").partition(" (")[0] for line in result.stdout.splitlines()] == [
        "1: unknown table or key temp",
        "3: unknown option tmep",
        "5: the alias a must be a string that names a model",
        "7: p must be a table",
        "9: top-k: expected a whole number, not the text 'x'",
    ]
    assert result.stderr == "llamacli: error: 5 mistakes in the settings\n"


@pytest.mark.parametrize("device", ["/dev/full", "/dev/null"])
def test_a_device_is_no_settings_file(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMACLI_CONFIG", device)
    for arguments in (("set", "temp", "1"), ("unset", "temp")):
        result = config(*arguments)
        assert (result.status, result.stderr) == (2, f"llamacli: error: {device} is not a regular file\n")


def test_a_file_of_any_size_is_refused() -> None:
    with write("").open("wb") as file:
        file.truncate(1 << 40)  # without taking room on the disk
    for arguments in (("set", "temp", "1"), ("check",), ("show",)):
        result = config(*arguments)
        assert (result.status, "larger than 1 MiB" in result.stdout + result.stderr) == (2, True)


def test_check_other_files(project: Path) -> None:
    good, bad = write("[defaults]\ntemp = 1", project / "good.toml"), write("[defaults", project / "bad.toml")
    assert config("check", str(good)).stderr == "llamacli: no mistakes in the settings\n"
    result = config("check", str(good), str(bad))
    assert (result.status, result.stdout) == (2, f"{bad}:1: expected ']' at the end of a table declaration\n")
    assert config("check", "none.toml").stderr == "llamacli: error: file not found: none.toml\n"


BOTH = Terminals(stdin=True, stdout=True)


def test_edit_checks_afterwards(project: Path) -> None:
    editor = project / "editor"
    editor.write_text('#!/bin/sh\nprintf \'[defaults]\\ntemp = %s\\n\' "$1" > "$2"\n')
    editor.chmod(0o755)
    assert config("edit", terminals=BOTH, environ={"EDITOR": f"{editor} 0.5"}).status == 0
    assert config("get", "temp").stdout == "0.5\n"
    result = config("edit", terminals=BOTH, environ={"EDITOR": "false", "VISUAL": f"{editor} warm"}, width=400)
    assert result.status == 2
    assert result.stdout.startswith(f"{paths.settings_file()}:2: invalid value")


def test_edit_begins_with_an_example() -> None:
    assert config("edit", terminals=BOTH, environ={"EDITOR": "true"}).status == 0
    assert "# [profiles.careful]" in paths.settings_file().read_text()


@pytest.mark.parametrize(
    ("editor", "terminals", "status", "message"),
    [
        ("false", BOTH, 1, "the editor false exited with status 1"),
        ("no-such-editor", BOTH, 2, "cannot run the editor no-such-editor"),
        ("'", BOTH, 2, "cannot run the editor '"),
        ("true", Terminals(), 2, "config edit needs a terminal"),
    ],
)
def test_edit_fails(editor: str, terminals: Terminals, status: int, message: str) -> None:
    result = config("edit", terminals=terminals, environ={"EDITOR": editor})
    assert result.status == status
    assert result.stderr.startswith(f"llamacli: error: {message}")


def test_every_option_can_be_set_to_what_is_built_in() -> None:
    keys = settings.all_keys()
    document = json.loads(config("show", "--all", "--json").stdout)
    assert len(document) > 50
    for name, one in document.items():
        if one["value"] is not None:
            keys[name].convert(one["value"])


def test_control_characters_do_not_reach_a_terminal() -> None:
    write('[defaults]\nsystem-prompt = "\\u001b[31m"\n[aliases]\n"\\u001b]0;x" = 3')
    assert "\x1b" not in config("show", terminals=BOTH).stderr
    write('[defaults]\nsystem-prompt = "\\u001b[31m"')
    assert "\x1b" not in config("show", terminals=BOTH).stdout
    assert "\x1b" not in config("get", "system-prompt", terminals=BOTH).stdout
