"""The effective value of each option and its origin: the environment, the settings, the model or the built-in default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llamacli.cli.framework.parameters import Option
from llamacli.cli.framework.parsers import parse_text
from llamacli.cli.framework.settings import settings
from llamacli.cli.framework.spellings.environment import unknown_variables
from llamacli.errors import ModelError, SettingsError, UsageError
from llamacli.store.settings.settings import Key, Origin, Problem, Setting


def effective(
    environ: Mapping[str, str], *, profile: str | None, model: str | None, built_in: bool = False
) -> dict[str, Setting]:
    """The value of every option that is set, by key in alphabetical order; with `built_in` also the built-in defaults.

    Raises SettingsError for the first mistake.
    """
    options = options_by_key()
    keys = settings.all_keys()
    stated, stated_profile = environ.get("LLAMACLI_MODEL") or None, environ.get("LLAMACLI_PROFILE") or None
    profile = profile or stated_profile
    found: dict[str, Setting] = {}
    if built_in:
        found |= {name: one for name, option in options.items() if (one := _built_in(option, keys[name]))}
    from_files = settings.values_for(settings.current(), keys, profile=profile, model=model or stated)
    named = model or stated or (str(from_files["model"].value) if "model" in from_files else None)
    found |= recommended(named, options)
    found |= from_files
    for name, option in options.items():
        variable = option.variable_in(environ)
        if variable is not None:
            value = _from_environment(keys[name], variable, environ[variable])
            found[name] = Setting(name, value, Origin("environment", variable))
    if model not in (None, stated):  # a variable also sets the option's value
        found["model"] = Setting("model", model, Origin("flag", "--model"))
    if profile not in (None, stated_profile):
        found["profile"] = Setting("profile", profile, Origin("flag", "--profile"))
    return dict(sorted(found.items()))


def options_by_key() -> dict[str, Option]:
    """One option for each key of settings."""
    found: dict[str, Option] = {}
    for option in settings.all_options():
        found.setdefault(settings.key_of(option).name, option)
    return found


def recommended(model: str | None, options: Mapping[str, Option]) -> dict[str, Setting]:
    """The sampling recommended by a model's metadata, if the model is on this machine."""
    from llamacli.engine.chat.recommended_sampling import FIELDS
    from llamacli.gguf.model import read_files
    from llamacli.store.models import inventory

    try:
        path = inventory.locate(model, settings.current().aliases())
        header = read_files(path).header
    except (ModelError, UsageError):
        return {}
    by_field = {option.name: name for name, option in options.items()}
    found = {}
    for key, (field, _) in FIELDS.items():
        entry = header.metadata.get(f"general.sampling.{key}")
        if entry is not None and field in by_field:
            name = by_field[field]
            found[name] = Setting(name, entry.value, Origin("model", Path(path).name))
    return found


def environment_problems(environ: Mapping[str, str]) -> list[Problem]:
    """The mistakes in the variables that begin with LLAMACLI_."""
    options = {variable: option for option in settings.all_options() for variable in option.variables}
    keys = settings.all_keys()
    found = []
    for variable, near in unknown_variables(environ):
        hint = f"did you mean {near}?" if near else None
        found.append(Problem(Path("environment"), 0, f"unknown variable {variable}", hint))
    for variable in sorted(name for name in environ if name in options and environ[name]):
        try:
            _from_environment(keys[settings.key_of(options[variable]).name], variable, environ[variable])
        except SettingsError as error:
            found.append(Problem(Path("environment"), 0, error.message))
    return found


def _built_in(option: Option, key: Key) -> Setting | None:
    """The built-in default. If it depends on the circumstances, its value is None and `where` describes it."""
    default = list(option.default) if isinstance(option.default, tuple) else option.default
    shown = option.show_default if isinstance(option.show_default, str) else None
    if shown is None or shown == str(default):
        return None if default is None else Setting(key.name, default, Origin("built-in", ""))
    if not option.multiple and option.kind.convert not in (parse_text, Path):
        try:
            return Setting(key.name, settings.from_text(key, shown), Origin("built-in", ""))
        except ValueError:
            pass  # a description, such as `physical cores`
    return Setting(key.name, None, Origin("built-in", shown))


def _from_environment(key: Key, variable: str, text: str) -> object:
    try:
        return settings.from_text(key, text)
    except ValueError as error:
        raise SettingsError(f"{variable}: {error}") from None
