"""Prompt templates meet options: a template's options are defaults over the settings, and its text takes the user's."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options.template import TEMPLATE_OPTION, TemplateOptions, parse_variable
from llamacli.cli.framework.parameters import ENVIRONMENT_PREFIX, Option
from llamacli.cli.framework.parsers import parse_path
from llamacli.cli.framework.settings.settings import as_given, key_of
from llamacli.cli.framework.spellings.option_names import OPTION_NAMES
from llamacli.errors import UsageError
from llamacli.store.models.references import is_path
from llamacli.store.settings.settings import Key, keys_by_spelling, spelling

if TYPE_CHECKING:
    from llamacli.cli.framework.settings.filled_template import FilledTemplate
    from llamacli.store.templates.template import PromptTemplate
    from llamacli.store.templates.text import TemplateText

_CONSTRAINTS = ("json_schema", "json_schema_file", "grammar", "grammar_file", "regex", "choices")
_MORE = ("extract",)
"""Options that templates may set, though settings may not."""

_EXCLUDED = ("prompt-template", "profile", "system-prompt", "debug", "verbose")


def fill_template(console: Console, options: TemplateOptions) -> FilledTemplate | None:
    """Return the template with its values, None without one. Says what of a foreign template is not used.

    Raises:
        UsageError: if it cannot be read, or a value is missing.
    """
    if options.prompt_template is None:
        if options.var:
            raise UsageError("--var needs a template", hint="-T selects one")
        return None
    from llamacli.cli.framework.settings.filled_template import FilledTemplate

    template = _load(options.prompt_template)
    for note in template.notes:
        console.note(f"template {template.name}: {note}")
    return FilledTemplate(template, template.values(dict(options.var)))


def defaults_with_template(
    app: AppContext, options: Sequence[Option], settable: Sequence[Option], given: Mapping[str, Any]
) -> dict[str, object]:
    """Return the defaults of a command's options: the settings, and over them the template's options.

    The template is named on the command line, in the environment or in the settings. Its model counts for the settings' tables
    of models, unless the command line names one. A constraint on the command line takes the place of the template's.

    Raises:
        UsageError, SettingsError: the template or the settings are wrong.
    """
    variable = f"{ENVIRONMENT_PREFIX}{TEMPLATE_OPTION.upper()}"
    name = given.get(TEMPLATE_OPTION) or app.console.environ.get(variable)
    template = _load(name) if name else None
    if template is not None and "model" in template.options and not given.get("model"):
        given = {**given, "model": str(_value(template, "model", template.options["model"], None))}
    defaults = dict(app.read_defaults(app.console.environ, settable, given))
    if template is None:
        if TEMPLATE_OPTION not in defaults:
            return defaults
        template = _load(str(defaults[TEMPLATE_OPTION]))
    own = option_values(template, options)
    if template.system is not None:
        own["system_prompt"] = system_text(template.system, template, given)
    if any(given.get(one) for one in _CONSTRAINTS):
        own = {name: value for name, value in own.items() if name not in _CONSTRAINTS}
    elif not own.keys().isdisjoint(_CONSTRAINTS):
        defaults = {name: value for name, value in defaults.items() if name not in _CONSTRAINTS}
    return defaults | own


def system_text(system: TemplateText, template: PromptTemplate, given: Mapping[str, Any]) -> str:
    """Return the system prompt with the values that the command line gives. Raises UsageError."""
    pairs = []
    for text in given.get("var") or ():
        try:
            pairs.append(parse_variable(text))
        except ValueError as error:
            raise UsageError(f"--var: {error}") from None
    return system.fill(template.values(dict(pairs)))


def option_values(template: PromptTemplate, options: Sequence[Option]) -> dict[str, object]:
    """Return the template's values of a command's options, by parameter name; those of other commands are left out.

    Raises:
        UsageError: if one is unknown, has a wrong value, or would let somebody else's template run programs.
    """
    mine = [one for one in options if one.envvar is not None or one.name in _MORE]
    keys = keys_by_spelling([key_of(one) for one in mine])
    by_key = {key_of(one).name: one for one in mine}
    found: dict[str, object] = {}
    for name, given in template.options.items():
        key = keys.get(spelling(name))
        _check(template, name, key, keys)
        if key is None:
            continue
        option = by_key[key.name]
        if option.name in found:
            raise UsageError(f"{template.path}: {name} is set twice")
        value = _value(template, key.name, given, option)
        try:
            found[option.name] = as_given(option, key.convert(value))
        except ValueError as error:
            raise UsageError(f"{template.path}: {name}: {error}") from None
    return found


def _load(name: str) -> PromptTemplate:
    """Return a template by its name or file. Most command lines have none, so its reader is imported here."""
    from llamacli.store.templates.library import load

    return load(name)


def _check(template: PromptTemplate, name: str, key: Key | None, keys: Mapping[str, Key]) -> None:
    if spelling(name) in _EXCLUDED:
        hint = "system is a key of its own, above [options]" if spelling(name) == "system-prompt" else None
        raise UsageError(f"{template.path}: {name} is not an option that a template may set", hint=hint)
    if key is None and spelling(name) not in (*OPTION_NAMES, *_MORE):
        near = difflib.get_close_matches(spelling(name), list(keys), n=1)
        hint = f"did you mean {near[0]}?" if near else "`llamacli run --help` lists the options"
        raise UsageError(f"{template.path}: unknown option {name}", hint=hint)
    if key is not None and key.personal and not template.is_trusted:
        hint = f"copy the template to your own folder, see `llamacli templates path`, if you trust it: {template.path}"
        raise UsageError(f"the template {template.name} sets {name}, which can run programs", hint=hint)


def _value(template: PromptTemplate, name: str, value: object, option: Option | None) -> object:
    """A value with relative paths put into the template's folder; a schema may be a table."""
    if name == "json-schema" and isinstance(value, dict):
        return json.dumps(value)
    is_file = option is not None and option.kind.convert is parse_path
    if isinstance(value, list):
        return [_value(template, name, one, option) for one in value]
    if not isinstance(value, str) or not (is_file or (name in ("model", "lora", "chat-template") and is_path(value))):
        return value
    folder = template.path if template.path.is_dir() else template.path.absolute().parent
    return str(folder / Path(value).expanduser())
