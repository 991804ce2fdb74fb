"""Settings meet options: which keys a settings file may hold, and what the files say about the command that runs."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from llamacli import __version__
from llamacli.cli.framework.parameters import Kind, Option, parse_float, parse_int, parse_path, parse_raw_text, parse_text
from llamacli.store.files import paths
from llamacli.store.settings import settings
from llamacli.store.settings.settings import Key, Settings

if TYPE_CHECKING:
    from llamacli.cli.framework.command import Command
    from llamacli.cli.framework.context import AppContext

PATH_KEYS = ("model", "lora", "chat-template")
"""Options that may name a file, though they are not of type Path."""

PERSONAL_KEYS = ("tools", "mcp", "allow-tool")
"""Options that a project's file may not set, because they run programs."""

_TYPES: dict[Callable[[str], object], tuple[tuple[type, ...], str]] = {
    parse_int: ((int,), "a whole number"),
    parse_float: ((int, float), "a number"),
    parse_text: ((str,), "a text in quotes"),
    parse_raw_text: ((str,), "a text in quotes"),
    parse_path: ((str,), "a file's name in quotes"),
}


def current() -> Settings:
    """The settings of this user in this directory. Raises SettingsError."""
    return settings.load(paths.settings_file(), paths.project_settings_file())


def read_defaults(app: AppContext, command: Command, arguments: Sequence[str]) -> Mapping[str, object]:
    """What the settings say about this command line: values by parameter name. Raises SettingsError."""
    given = _given(command, arguments)
    if "help" in given:
        return {}
    found = current()
    options = settable(command)
    environ = app.console.environ

    def said(name: str) -> str | None:
        option = next((one for one in options if one.name == name), None)
        variable = environ.get(str(option.envvar)) if option is not None else None
        value = given.get(name)
        if isinstance(value, list) and len(value) == 1:  # an option that may be given many times
            value = value[0]
        return (value if isinstance(value, str) else None) or variable or None

    if not found.files and said("profile") is None:
        return {}
    keys = settings.keys_by_spelling([key_of(option) for option in options])
    values = values_for(found, keys, profile=said("profile"), model=said("model"))
    by_key = {key_of(option).name: option for option in options}
    return {by_key[key].name: _as_given(by_key[key], setting.value) for key, setting in values.items()}


def values_for(found: Settings, keys: settings.Keys, *, profile: str | None, model: str | None) -> dict[str, settings.Setting]:
    """The values of `keys` in the settings, for a profile and a model that the user named (or did not)."""
    profile = profile or default_profile(found)
    if model is None:
        stated = found.stated("model", profile=profile)
        model = stated if isinstance(stated, str) else None
    from llamacli.store.models.resolve import names_of

    names = names_of(model, found.aliases())
    return found.values(keys, every=all_keys, profile=profile, models=names, elsewhere=known_elsewhere)


def default_model(profile: str | None) -> str | None:
    """The model that the settings name, None if they name none."""
    found = current()
    stated = found.stated("model", profile=profile or default_profile(found))
    return stated if isinstance(stated, str) else None


def default_profile(found: Settings) -> str | None:
    """The profile that the settings themselves turn on: `profile = "…"` in `[defaults]`."""
    name = found.stated("profile")
    return name if isinstance(name, str) else None


def settable(command: Any) -> list[Option]:
    """The options of a command that settings may hold: those that an environment variable can set, too."""
    return [one for one in command.params if isinstance(one, Option) and one.envvar is not None]


def key_of(option: Option) -> Key:
    """An option as settings know it."""
    long = [name.removeprefix("--") for name in option.opts if name.startswith("--")]
    path = option.kind.convert is parse_path or long[0] in PATH_KEYS
    return Key(
        name=long[0],
        spellings=tuple(long[1:]),
        convert=_converter(option),
        path=path,
        personal=long[0] in PERSONAL_KEYS,
    )


def all_options() -> list[Option]:
    """The options of all commands. This imports them all: it is for `config`, and for keys that a command does not know."""
    from llamacli.cli.main import REGISTRY

    found: list[Option] = []
    for entry in REGISTRY:
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        found += _options_below(command)
    return found


def all_keys() -> settings.Keys:
    """The keys of all commands by every spelling. Where commands differ about a value, it is enough if one accepts it."""
    by_name: dict[str, list[Key]] = {}
    for option in all_options():
        key = key_of(option)
        by_name.setdefault(key.name, []).append(key)
    return settings.keys_by_spelling([_merged(keys) for keys in by_name.values()])


def known_elsewhere(name: str) -> bool:
    """Whether some command has an option of this name, as far as a note in the cache tells.

    Finding out takes the import of every command; so it is noted down, for as long as the commands stay as they are.
    """
    modules = list(Path(__file__).parents[1].rglob("*.py"))
    stamp = [__version__, len(modules), max(module.stat().st_mtime_ns for module in modules)]
    note = paths.cache_dir() / "option-names.json"
    try:
        noted = json.loads(note.read_bytes())
        if noted["stamp"] == stamp:
            return settings.spelling(name) in noted["names"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there is none yet, or somebody has spoilt it
    names = sorted(all_keys())
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary = note.with_name(f".{note.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"stamp": stamp, "names": names}), encoding="utf-8")
        temporary.replace(note)
    return settings.spelling(name) in names


def from_text(key: Key, text: str) -> object:
    """What a person wrote on the command line, as the TOML value that the key takes. Raises ValueError."""
    if text.strip().lower() in ("true", "false"):
        candidates: list[object] = [text.strip().lower() == "true", text]
    else:
        candidates = [text]
        for parse in (int, float):
            try:
                candidates.insert(0, parse(text))
                break
            except ValueError:
                continue
    problem = ValueError("no value")
    for candidate in candidates:
        try:
            key.convert(candidate)
        except ValueError as error:
            problem = error
        else:
            return candidate
    raise problem


def _merged(keys: list[Key]) -> Key:
    def convert(value: object) -> object:
        problem = ValueError("no value")
        for key in keys:
            try:
                return key.convert(value)
            except ValueError as error:
                problem = error
        raise problem

    spellings = tuple(dict.fromkeys(name for key in keys for name in key.spellings))
    return Key(
        name=keys[0].name,
        spellings=spellings,
        convert=convert,
        path=any(key.path for key in keys),
        personal=any(key.personal for key in keys),
    )


def _options_below(command: Any) -> list[Option]:
    if isinstance(command, TyperGroup):
        return [option for one in command.commands.values() for option in _options_below(one)]
    return settable(command)


def _given(command: Command, arguments: Sequence[str]) -> dict[str, Any]:
    """The values on the command line as they stand there; none if it is wrong, which is said elsewhere."""
    context = command.context_class(command, resilient_parsing=True)
    try:
        values, _, _ = command.make_parser(context).parse_args(args=list(arguments))
    except typer.TyperException:
        return {}
    return dict(values)


def _converter(option: Option) -> Callable[[object], object]:
    """What checks a value from a settings file."""
    kind = option.kind

    def convert(value: object) -> object:
        if option.count:
            return _checked(kind, value, (int,), "a whole number")
        if option.is_flag:
            return _checked(kind, value, (bool,), "true or false")
        if isinstance(value, list):
            texts = [_text(kind, one) for one in value]
            if not kind.multiple and (kind.convert in _TYPES or kind.choices):
                raise ValueError("it takes one value, not a list")
            for text in texts if kind.multiple else [",".join(texts)] * bool(texts):
                kind.convert(text)
        else:
            kind.convert(_text(kind, value))
        return value

    return convert


def _text(kind: Kind, value: object) -> str:
    types, name = _TYPES.get(kind.convert, ((str, int, float), "a text or a number"))
    if kind.choices:
        types, name = (str, int), f"one of {', '.join(kind.choices)}"
    return str(_checked(kind, value, types, name))


def _checked(kind: Kind, value: object, types: tuple[type, ...], name: str) -> object:
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ValueError(f"it takes {name}, not {_described(value)}")
    return value


def _as_given(option: Option, value: object) -> object:
    """A checked value in the form in which an option takes its default: a list, or one text. None is the built-in default."""
    if isinstance(value, list) and not option.multiple:
        return ",".join(map(str, value)) or None
    return [value] if option.multiple and not isinstance(value, list) else value


def _described(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text '{value}'"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or a time"
