"""Settings meet options: which keys a settings file may hold, and what the files say about the command that runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from typer.core import TyperGroup

from llamacli.cli.framework.kinds import Kind
from llamacli.cli.framework.parameters import Option
from llamacli.cli.framework.parsers import parse_float, parse_int, parse_path, parse_raw_text, parse_text
from llamacli.cli.framework.spellings.option_names import OPTION_NAMES
from llamacli.cli.registry import REGISTRY
from llamacli.store.files import paths
from llamacli.store.settings import settings
from llamacli.store.settings.settings import Key, Settings

PATH_KEYS = ("model", "lora", "chat-template")
"""Options that may name a file, though they are not of type Path."""

PERSONAL_KEYS = ("tools", "mcp", "allow-tool", "url", "key", "insecure")
"""Options that a project's file must not set, because they run programs, or send prompts and keys to a server."""

_TYPES: dict[Callable[[str], object], tuple[tuple[type, ...], str]] = {
    parse_int: ((int,), "a whole number"),
    parse_float: ((int, float), "a number"),
    parse_text: ((str,), "text in quotes"),
    parse_raw_text: ((str,), "text in quotes"),
    parse_path: ((str,), "a file name in quotes"),
}


def current() -> Settings:
    """The settings of this user in this directory. Raises SettingsError."""
    return settings.load(paths.settings_file(), paths.project_settings_file())


def read_defaults(environ: Mapping[str, str], options: Sequence[Option], given: Mapping[str, Any]) -> Mapping[str, object]:
    """Read the values of a command's options from the settings, by parameter name. Raises SettingsError.

    The command line (`given`) or the environment may name a profile and a model, which have settings of their own.
    """
    found = current()

    def named(name: str) -> str | None:
        option = next((one for one in options if one.name == name), None)
        stated = option.variable_in(environ) if option is not None else None
        variable = environ[stated] if stated is not None else None
        value = given.get(name)
        if isinstance(value, list) and len(value) == 1:  # an option that can be repeated
            value = value[0]
        return (value if isinstance(value, str) else None) or variable or None

    if not found.files and named("profile") is None:
        return {}
    keys = settings.keys_by_spelling([key_of(option) for option in options])
    values = values_for(found, keys, profile=named("profile"), model=named("model"))
    by_key = {key_of(option).name: option for option in options}
    return {by_key[key].name: as_given(by_key[key], setting.value) for key, setting in values.items()}


def values_for(found: Settings, keys: settings.Keys, *, profile: str | None, model: str | None) -> dict[str, settings.Setting]:
    """The values of `keys` in the settings, for the profile and the model that the user named, if any."""
    profile = profile or default_profile(found)
    if model is None:
        stated = found.stated("model", profile=profile)
        model = stated if isinstance(stated, str) else None
    from llamacli.store.models.resolve import names_of

    names = names_of(model, found.aliases())
    return found.values(keys, every=all_keys, profile=profile, models=names, is_option=_is_option)


def _is_option(name: str) -> bool:
    """Return whether any command has an option of this name, without importing the commands."""
    return settings.spelling(name) in OPTION_NAMES


def is_model_name(word: str) -> bool:
    """Return whether a word is the name of a model: an alias, a name of the catalogue, or a reference with a scheme."""
    from llamacli.store.models import catalogue
    from llamacli.store.models.references import SCHEMES

    if not word or not word.isprintable() or " " in word:
        return False
    if word.startswith(SCHEMES[:1] + SCHEMES[3:]) or word.lower().endswith(".gguf"):
        return True
    return catalogue.is_name(word) or word in current().aliases()


def default_model(profile: str | None) -> str | None:
    """The model that the settings name, or None."""
    found = current()
    stated = found.stated("model", profile=profile or default_profile(found))
    return stated if isinstance(stated, str) else None


def default_profile(found: Settings) -> str | None:
    """The profile that the settings turn on: `profile = "…"` in `[defaults]`."""
    name = found.stated("profile")
    return name if isinstance(name, str) else None


def key_of(option: Option) -> Key:
    """An option as a key of the settings."""
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
    """The options of all commands. This imports every command: it is for `config`, and for keys that no command has."""
    found: list[Option] = []
    for entry in REGISTRY:
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        found += _options_below(command)
    return found


def all_keys() -> settings.Keys:
    """The keys of all commands by every spelling. Where commands differ, a value is valid if one of them accepts it."""
    by_name: dict[str, list[Key]] = {}
    for option in all_options():
        key = key_of(option)
        by_name.setdefault(key.name, []).append(key)
    return settings.keys_by_spelling([_merged(keys) for keys in by_name.values()])


def from_text(key: Key, text: str) -> object:
    """Convert text from the command line to the TOML value that the key takes. Raises ValueError."""
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
    problem = ValueError("the value is missing")
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
        problem = ValueError("the value is missing")
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
    options: list[Option] = command.settable
    return options


def _converter(option: Option) -> Callable[[object], object]:
    """A function that checks a value from a settings file."""
    kind = option.kind

    def convert(value: object) -> object:
        if option.count:
            return _checked(kind, value, (int,), "a whole number")
        if option.is_flag:
            return _checked(kind, value, (bool,), "true or false")
        if isinstance(value, list):
            texts = [_text(kind, one) for one in value]
            if not kind.multiple and (kind.convert in _TYPES or kind.choices):
                raise ValueError("expected one value, not a list")
            for text in texts if kind.multiple else [",".join(texts)] * bool(texts):
                kind.convert(text)
        else:
            kind.convert(_text(kind, value))
        return value

    return convert


def _text(kind: Kind, value: object) -> str:
    types, name = _TYPES.get(kind.convert, ((str, int, float), "text or a number"))
    if kind.choices:
        types, name = (str, int), f"one of {', '.join(kind.choices)}"
    return str(_checked(kind, value, types, name))


def _checked(kind: Kind, value: object, types: tuple[type, ...], name: str) -> object:
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ValueError(f"expected {name}, not {_described(value)}")
    return value


def as_given(option: Option, value: object) -> object:
    """A checked value as an option takes its default: a list, or one text. None is the built-in default."""
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
