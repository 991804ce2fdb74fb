"""`llamacli config`: show, check and change the settings."""

from __future__ import annotations

import difflib
import json as json_format
from pathlib import Path
from typing import Annotated

from llamacli.cli.framework.command import command, group
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import CommonOptions, JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.cli.framework.settings import settings
from llamacli.cli.framework.terminal.editor import edit_file, find_editor
from llamacli.errors import LlamacliError, SettingsError, UsageError
from llamacli.store.files import paths
from llamacli.store.models.references import is_path
from llamacli.store.settings import settings as store
from llamacli.units import counted

KEY_HELP = "An option's long name, aliases.NAME, profiles.NAME.OPTION or models.NAME.OPTION."

KeyArgument = Annotated[str, argument(metavar="KEY", help=KEY_HELP)]
ProjectOption = Annotated[
    bool, option("--project", help=f"Use the project's {paths.PROJECT_SETTINGS_NAME}.", environment=False)
]


@command(
    examples=(
        ("Show the settings and their origins.", "llamacli config show --origin"),
        ("Show the settings for one model in one profile.", "llamacli config show -m qwen --profile careful"),
    )
)
def show(
    app: AppContext,
    key: Annotated[tuple[str, ...], argument(metavar="KEY", help="Only these options.")] = (),
    *,
    common: CommonOptions,
    model: Annotated[str | None, option("-m", "--model", metavar="MODEL", help="Show the settings for this model.")] = None,
    origin: Annotated[bool, option("--origin", help="Show the origin of each value.", environment=False)] = False,
    all: Annotated[bool, option("--all", help="Include built-in defaults.", environment=False)] = False,  # noqa: A002
    json: JsonOption = False,
) -> None:
    """Show the effective settings.

    In order of precedence, a value comes from the environment, the project's settings file, the user's settings file, the
    sampling recommended by the model's metadata, or the built-in default. Options on a command line override all of them.
    """
    from llamacli.cli.config.effective import effective
    from llamacli.render.config import format_settings, settings_document

    found = effective(app.console.environ, profile=common.profile, model=model, built_in=all or bool(key))
    chosen = [found[name] for name in map(option_name, key) if name in found] if key else list(found.values())
    if json:
        app.console.write(json_format.dumps(settings_document(chosen), indent=2) + "\n")
    else:
        app.console.write(format_settings(chosen, origin=origin, width=app.console.line_width))


@command(examples=(("Use a value in a script.", "llamacli config get model"),))
def get(app: AppContext, key: KeyArgument, *, common: CommonOptions) -> None:
    """Print the value of one option.

    It is the effective value, as in `config show`; for keys of aliases, profiles and models the value in the files.
    """
    from llamacli.cli.config.effective import effective
    from llamacli.render.config import plain_value

    key_path = parse_key(key)
    if key_path[0] == "defaults":
        setting = effective(app.console.environ, profile=common.profile, model=None, built_in=True).get(key_path[-1])
        value = setting.value if setting else None
        if setting is not None and value is None:
            raise LlamacliError(f"{key} is not set", hint=f"built-in default: {setting.origin.where}")
    else:
        value = next((one for file in settings.current().files if (one := value_at(file, key_path)) is not None), None)
    if value is None:
        raise LlamacliError(f"{key} is not set")
    app.console.show(plain_value(value) + "\n")


@command(
    name="set",
    examples=(
        ("Change a default.", "llamacli config set temp 0.3"),
        ("Define an alias for a model.", "llamacli config set aliases.qwen hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"),
        ("Set an option of a profile.", "llamacli config set profiles.careful.temp 0"),
    ),
)
def set_(
    app: AppContext,
    key: KeyArgument,
    value: Annotated[tuple[str, ...], argument(metavar="VALUE", help="The value; several values form a list.")],
    *,
    project: ProjectOption = False,
) -> None:
    """Set an option in the settings file.

    The value is validated first. Comments and order in the file are preserved.
    """
    from llamacli.store.settings import edit as settings_edit

    key_path = parse_key(key)
    file = settings_path(project)
    settings_edit.set_value(file, key_path, parse_value(key_path, value), lambda one: store.problems(one, settings.all_keys()))


@command(examples=(("Restore the built-in default.", "llamacli config unset temp"),))
def unset(app: AppContext, key: KeyArgument, *, project: ProjectOption = False) -> None:
    """Remove an option from the settings file."""
    from llamacli.store.settings import edit as settings_edit

    file = settings_path(project)
    as_written = tuple(key.split(".")) if "." in key else ("defaults", key)  # so that mistakes can be removed, too
    if not settings_edit.unset_value(file, as_written) and not settings_edit.unset_value(file, parse_key(key)):
        raise UsageError(f"{key} is not set in {file}", hint="`llamacli config show --origin` shows where it is set")


@command(examples=(("Print the file.", 'cat "$(llamacli config path)"'),))
def path(app: AppContext, *, project: ProjectOption = False) -> None:
    """Print the path of the settings file, which may not exist."""
    app.console.show(f"{settings_path(project)}\n")


@command(examples=(("Edit the settings.", "llamacli config edit"),))
def edit(app: AppContext, *, project: ProjectOption = False) -> None:
    """Open the settings file in an editor and check it afterwards.

    The editor is $VISUAL, $EDITOR, nano or vi. A new file starts with a commented example.
    """
    from llamacli.store.settings import edit as settings_edit

    if not (app.console.terminals.stdin and app.console.terminals.stdout):
        raise UsageError("config edit needs a terminal", hint="`llamacli config set` works without one")
    editor = find_editor(app.console)
    file = settings_path(project)
    settings_edit.create(file)
    edit_file(editor, file)
    check_files(app, [file])


@command(examples=(("Check the settings.", "llamacli config check"),))
def check(
    app: AppContext,
    file: Annotated[tuple[Path, ...], argument(metavar="FILE", help="Files to check instead of those in effect.")] = (),
) -> None:
    """Check the settings files and the environment for mistakes.

    Each mistake is printed with its line. The exit status is 2 if there are any.
    """
    check_files(app, list(file) or [one for one in (paths.project_settings_file(), paths.settings_file()) if one], bool(file))


config = group(
    "config", show, get, set_, unset, path, edit, check,
    help="Show, check and change the settings.",
    examples=(
        ("Show the settings and their origins.", "llamacli config show --origin"),
        ("Change a default.", "llamacli config set temp 0.3"),
    ),
)  # fmt: skip
for _one in (get, set_, unset, path, edit, check, show):
    _one.reads_settings = False  # these commands must work with broken settings
set_.takes_numbers = True


def check_files(app: AppContext, files: list[Path], given: bool = False) -> None:
    """Print the mistakes in the files and, unless the user has `given` the files, in the environment.

    Raises SettingsError if there are any, UsageError for a given file that does not exist.
    """
    from llamacli.cli.config.effective import environment_problems
    from llamacli.render.config import format_problems
    from llamacli.store.settings.check import examine

    found: list[store.Problem] = [] if given else environment_problems(app.console.environ)
    for file in files:
        wrong = examine(file, store.scope_of(file), settings.all_keys())
        if wrong is None and given:
            raise UsageError(f"file not found: {file}")
        found += wrong or []
    if found:
        app.console.write(format_problems(found, width=app.console.line_width))
        raise SettingsError(f"{counted(len(found), 'mistake')} in the settings")
    app.console.note("no mistakes in the settings")


def settings_path(project: bool) -> Path:
    """The settings file of the project or of the user."""
    if project:
        return paths.project_settings_file() or Path.cwd() / paths.PROJECT_SETTINGS_NAME
    return paths.settings_file()


def parse_key(key: str) -> store.KeyPath:
    """The location of a key in the file: `temp`, `aliases.NAME`, `profiles.NAME.temp`. Raises UsageError."""
    table, dot, rest = key.partition(".")
    if table == "aliases" and rest:
        return "aliases", rest
    if table in ("profiles", "models") and rest:
        name, dot, last = rest.rpartition(".")
        if not name:
            raise UsageError(f"{key} is incomplete", hint=f"write {table}.NAME.OPTION")
        return table, name, option_name(last)
    return "defaults", option_name(rest if table == "defaults" and dot else key)


def option_name(word: str) -> str:
    """The canonical name of an option. Raises UsageError with a suggestion."""
    keys = settings.all_keys()
    key = keys.get(store.spelling(word))
    if key is None:
        near = difflib.get_close_matches(store.spelling(word), list(keys), n=1)
        hint = f"did you mean {near[0]}?" if near else "`llamacli config show --all` lists all options"
        raise UsageError(f"unknown option {word}", hint=hint)
    return key.name


def parse_value(key_path: store.KeyPath, texts: tuple[str, ...]) -> object:
    """The value to write into the file. Paths become absolute, because those in the file are relative to its folder."""
    if key_path[0] == "aliases":
        if len(texts) != 1 or not texts[0]:
            raise UsageError("an alias takes one value, the name of a model")
        return absolute(texts[0])
    key = settings.all_keys()[key_path[-1]]
    try:
        values = [settings.from_text(key, absolute(text) if key.path else text) for text in texts]
        if len(values) == 1:
            return values[0]
        key.convert(values)
        return values
    except ValueError as error:
        raise UsageError(f"{key_path[-1]}: {error}") from None


def absolute(text: str) -> str:
    """The text, made absolute if it is a path."""
    return str(Path(text).expanduser().absolute()) if is_path(text) else text


def value_at(file: store.SettingsFile, key_path: store.KeyPath) -> object:
    """The value of a key in a file, in any spelling of the key; None if it is not set."""
    if key_path[0] == "aliases":
        return file.data.get("aliases", {}).get(key_path[1])
    table = file.table(key_path[:-1]) or {}
    return next((value for name, value in table.items() if option_name(name) == key_path[-1]), None)
