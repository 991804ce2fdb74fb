"""Settings files: what is read, what is refused and where, what wins, and how they are changed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from llamacli.errors import LlamacliError, SettingsError
from llamacli.store.files import paths
from llamacli.store.settings import edit as settings_edit
from llamacli.store.settings import settings
from llamacli.store.settings.file import SIZE_LIMIT
from llamacli.store.settings.settings import Key, Settings


def number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("it takes a number")
    return value


def text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("it takes a text")
    return value


KEYS = settings.keys_by_spelling([
    Key(name="temp", spellings=("temperature",), convert=number),
    Key(name="ctx-size", convert=number),
    Key(name="model", convert=text, path=True),
    Key(name="color", convert=text),
])  # fmt: skip
EVERY = {**KEYS, **settings.keys_by_spelling([Key(name="repetitions", convert=number)])}


def file(tmp_path: Path, content: str, scope: settings.Scope = "user", name: str = "config.toml") -> settings.SettingsFile:
    return settings.parse(content.encode(), tmp_path / name, scope)


def values(*files: settings.SettingsFile, profile: str | None = None, models: tuple[str, ...] = ()) -> dict[str, object]:
    found = Settings(files).values(KEYS, every=lambda: EVERY, profile=profile, models=models)
    return {key: setting.value for key, setting in found.items()}


def test_values_and_spellings(tmp_path: Path) -> None:
    assert values(file(tmp_path, "[defaults]\ntemperature = 0.5\nctx_size = 8")) == {"temp": 0.5, "ctx-size": 8}


def test_keys_of_other_commands_are_passed_over(tmp_path: Path) -> None:
    assert values(file(tmp_path, "[defaults]\nrepetitions = 3\ntemp = 1")) == {"temp": 1}
    with pytest.raises(SettingsError, match=":2: repetitions: it takes a number"):
        values(file(tmp_path, "[defaults]\nrepetitions = 'x'"))


def test_all_keys_are_loaded_only_if_one_is_unknown(tmp_path: Path) -> None:
    found = Settings((file(tmp_path, "[defaults]\ntemp = 1"),))

    def never() -> settings.Keys:
        raise AssertionError

    assert found.values(KEYS, every=never, profile=None, models=())["temp"].value == 1


def test_the_order_of_layers(tmp_path: Path) -> None:
    user = file(tmp_path, """
        [defaults]
        temp = 1
        color = "user"
        [models.m]
        temp = 2
        [profiles.p]
        temp = 3
        """)  # fmt: skip
    project = file(
        tmp_path, "[defaults]\ntemp = 11\n[models.m]\ntemp = 12\n[profiles.q]\ntemp = 13", "project", ".llamacli.toml"
    )
    both = (project, user)
    assert values(*both) == {"temp": 11, "color": "user"}
    assert values(*both, models=("other", "m")) == {"temp": 12, "color": "user"}
    assert values(*both, models=("m",), profile="p") == {"temp": 3, "color": "user"}
    assert values(*both, profile="q") == {"temp": 13, "color": "user"}
    assert values(user, models=("m",)) == {"temp": 2, "color": "user"}


def test_origins_name_file_and_table(tmp_path: Path) -> None:
    user, project = file(tmp_path, "[defaults]\ncolor = 'x'"), file(tmp_path, "[profiles.p]\ntemp = 1", "project", "p.toml")
    found = Settings((project, user)).values(KEYS, every=lambda: EVERY, profile="p", models=())
    assert str(found["color"].origin) == f"user: {tmp_path}/config.toml [defaults]"
    assert str(found["temp"].origin) == f"project: {tmp_path}/p.toml [profiles.p]"


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    one = file(
        tmp_path, "[defaults]\nmodel = 'm.gguf'\n[aliases]\na = './a.gguf'\nb = 'hf:u/r'\nc = 'demo'", name="sub/config.toml"
    )
    assert values(one) == {"model": str(tmp_path / "sub" / "m.gguf")}
    assert Settings((one,)).aliases() == {"a": str(tmp_path / "sub" / "a.gguf"), "b": "hf:u/r", "c": "demo"}
    assert values(file(tmp_path, "[defaults]\nmodel = 'hf:u/r:x.gguf'")) == {"model": "hf:u/r:x.gguf"}


def test_the_projects_aliases_come_first(tmp_path: Path) -> None:
    user, project = (
        file(tmp_path, "[aliases]\na = 'demo'\nb = 'demo'"),
        file(tmp_path, "[aliases]\na = 'hf:u/r'", "project", "p.toml"),
    )
    assert Settings((project, user)).aliases() == {"a": "hf:u/r", "b": "demo"}


def test_an_unknown_profile(tmp_path: Path) -> None:
    one = file(tmp_path, "[profiles.production]\ntemp = 0")
    with pytest.raises(SettingsError, match=r"unknown profile prodution \(did you mean production\?\)"):
        values(one, profile="prodution")
    with pytest.raises(SettingsError, match="profiles: production"):
        values(one, profile="zzz")
    with pytest.raises(SettingsError, match="the settings define no profiles"):
        values(profile="zzz")


WRONG = [
    ("[defaults]\ntmep = 1", 2, "unknown option tmep (did you mean temp?)"),
    ("[defaults]\n\n# x\nzzzz = 1", 4, "unknown option zzzz (`llamacli config show --all` lists all options)"),
    ("[profiles.a]\ntemp = 1\n[profiles.b]\ntemp = 'hot'", 4, "temp: it takes a number"),
    ("[defaults]\ncolor = '''\na\nb'''\ntemp = []", 5, "temp: it takes a number"),
    ("[defaults]\ntemp = 1\ntemperature = 2", 3, "temperature is set twice in [defaults]"),
    ("defaults.temp = 1\ndefaults.tepm = 2", 2, "unknown option tepm (did you mean temp?)"),
    ("defaults = { temp = true }", 1, "temp: it takes a number"),
    ("[models.\"a b\"]\nctx_sizes = 1", 2, "unknown option ctx_sizes (did you mean ctx-size?)"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "line", "message"), WRONG)
def test_wrong_keys_and_values_are_placed(tmp_path: Path, content: str, line: int, message: str) -> None:
    one = file(tmp_path, content)
    found = settings.problems(one, EVERY)
    assert [str(problem.error()) for problem in found] == [f"{tmp_path}/config.toml:{line}: {message}"]


UNDER = "options belong in one of [defaults], [aliases], [models], [profiles])"
SHAPES = [
    ("default = 1", "config.toml:1: unknown table or key default (did you mean [defaults]?)"),
    ("temp = 1", "config.toml:1: unknown table or key temp (" + UNDER),
    ("\ndefaults = 1", "config.toml:2: defaults must be a table (write [defaults])"),
    ("[[defaults]]\ntemp = 1", "config.toml:1: defaults must be a table (write [defaults])"),
    ("[aliases]\na = 'x'\nb = 3", "config.toml:3: the alias b must be a string that names a model"),
    ("[aliases]\na = ''", "config.toml:2: the alias a must be a string that names a model"),
    ("[profiles]\ntemp = 1", "config.toml:2: temp must be a table (write [profiles.NAME] above it)"),
    ("[defaults]\ntemp = ", "config.toml:2: invalid value (strings must be in quotes)"),
    ("[defaults]\nmodel = demo", "config.toml:2: invalid value (strings must be in quotes)"),
    ("[defaults]\na = 1\na = 2", "config.toml:3: cannot overwrite a value"),
    ("[defaults", "config.toml:1: expected ']' at the end of a table declaration"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), SHAPES)
def test_wrong_shapes_are_placed(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        file(tmp_path, content)
    assert str(caught.value) == f"{tmp_path}/{message}"


@pytest.mark.parametrize(
    "data", [b"\xff\xfe[\0", b"[defaults]\ntemp = '\xff'", b"[" * 5000, b"x" * (SIZE_LIMIT + 1), b"a=" + b"[" * 4000]
)
def test_what_is_no_settings_file_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(SettingsError, match=r"config\.toml"):
        settings.parse(data, tmp_path / "config.toml", "user")


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path) -> None:
    assert values(settings.parse(b"\xef\xbb\xbf[defaults]\r\ntemp = 1\r\n", tmp_path / "c", "user")) == {"temp": 1}


@given(st.binary(max_size=200) | st.text("[]{}\"'=.#\n \\azdefaults_-013", max_size=120).map(str.encode))
@hypothesis_settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        one = settings.parse(data, Path("c.toml"), "user")
    except SettingsError as error:
        assert error.message.startswith("c.toml")  # noqa: PT017 - most data is refused, some is not
    else:
        assert isinstance(settings.problems(one, EVERY), list)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert settings.load(tmp_path / "none.toml", None) == Settings(())
    assert settings.load(Path("/dev/null"), None) == Settings(())
    with pytest.raises(SettingsError, match="Is a directory"):
        settings.load(tmp_path, None)


def test_where_the_files_are(isolated_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.settings_file() == isolated_home / ".config" / "llamacli" / "config.toml"
    monkeypatch.setenv("LLAMACLI_CONFIG", "~/x.toml")
    assert paths.settings_file() == isolated_home / "x.toml"
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert paths.project_settings_file(below) is None
    (tmp_path / ".llamacli.toml").touch()
    assert paths.project_settings_file(below) == tmp_path / ".llamacli.toml"
    (tmp_path / "a" / ".llamacli.toml").touch()
    assert paths.project_settings_file(below) == tmp_path / "a" / ".llamacli.toml"


def test_the_search_for_a_project_stops_at_home(isolated_home: Path) -> None:
    (isolated_home.parent / ".llamacli.toml").touch()
    try:
        assert paths.project_settings_file(isolated_home) is None
    finally:
        (isolated_home.parent / ".llamacli.toml").unlink()


# --- changing ----------------------------------------------------------------------------------------------------------------


def no_check(_: settings.SettingsFile) -> list[settings.Problem]:
    return []


def test_comments_and_order_stay(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# mine\n[defaults]\nctx_size = 1  # why\n\n# end\n[profiles.p]\ntemp = 1\n")
    settings_edit.set_value(path, ("defaults", "ctx-size"), 2, no_check)
    settings_edit.set_value(path, ("profiles", "p", "temp"), 0.5, no_check)
    settings_edit.set_value(path, ("defaults", "model"), "demo", no_check)
    changed = path.read_text()
    assert changed.startswith("# mine\n[defaults]\nctx_size = 2  # why\n")
    assert "# end\n" in changed
    assert tomllib.loads(changed) == {"defaults": {"ctx_size": 2, "model": "demo"}, "profiles": {"p": {"temp": 0.5}}}


def test_a_new_file_is_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "config.toml"
    settings_edit.set_value(path, ("models", "hf:u/r", "temp"), 0.5, no_check)
    assert path.read_text() == '[models."hf:u/r"]\ntemp = 0.5\n'
    assert [one.name for one in path.parent.iterdir()] == ["config.toml"]


def test_what_is_unset_is_gone_with_its_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[defaults]\ntemp = 1 # x\n[profiles.p]\nctx_size = 2\n")
    assert settings_edit.unset_value(path, ("profiles", "p", "ctx-size"))
    assert settings_edit.unset_value(path, ("defaults", "temp"))
    assert not settings_edit.unset_value(path, ("defaults", "temp"))
    assert not settings_edit.unset_value(path, ("profiles", "q", "temp"))
    assert not settings_edit.unset_value(tmp_path / "none.toml", ("defaults", "temp"))
    assert tomllib.loads(path.read_text()).get("profiles", {}) == {}


def test_a_change_that_would_be_wrong_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[defaults]\ntemp = 1\n")
    with pytest.raises(SettingsError, match=r"config\.toml:2: temp: it takes a number"):
        settings_edit.set_value(path, ("defaults", "temp"), "hot", lambda one: settings.problems(one, EVERY))
    assert path.read_text() == "[defaults]\ntemp = 1\n"


def test_a_broken_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[defaults\n")
    with pytest.raises(SettingsError, match=r"config\.toml:1"):
        settings_edit.set_value(path, ("defaults", "temp"), 1, no_check)
    assert path.read_text() == "[defaults\n"


def test_a_link_stays_a_link_and_the_mode_stays(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("")
    real.chmod(0o600)
    link = tmp_path / "config.toml"
    link.symlink_to(real)
    settings_edit.set_value(link, ("defaults", "temp"), 1, no_check)
    assert link.is_symlink()
    assert real.read_text() == "[defaults]\ntemp = 1\n"
    assert real.stat().st_mode & 0o777 == 0o600


def test_the_template_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    settings_edit.create(path)
    uncommented = "\n".join(line.removeprefix("# ") for line in path.read_text().splitlines()[2:])
    assert settings.problems(file(tmp_path, uncommented), EVERY) == []
    path.write_text("x = 1")
    settings_edit.create(path)
    assert path.read_text() == "x = 1"


@given(st.lists(st.tuples(st.sampled_from(["temp", "ctx-size"]), st.integers(0, 9) | st.none()), max_size=8))
@hypothesis_settings(max_examples=40, deadline=None)
def test_any_sequence_of_changes_leaves_a_sound_file(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int | None]]
) -> None:
    path = tmp_path_factory.mktemp("s") / "config.toml"
    expected: dict[str, int] = {}
    for key, value in changes:
        if value is None:
            assert settings_edit.unset_value(path, ("defaults", key)) == (expected.pop(key, None) is not None)
        else:
            settings_edit.set_value(path, ("defaults", key), value, no_check)
            expected[key] = value
    found = settings.load(path, None)
    assert dict(found.files[0].data.get("defaults", {}) if found.files else {}) == expected


def test_settings_errors_are_usage_errors() -> None:
    assert issubclass(SettingsError, LlamacliError)
