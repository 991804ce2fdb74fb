"""`llamacli config`: what is set, where it was set, and changing it."""

from __future__ import annotations

import difflib
import json as json_format
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

from llamacli.cli.framework import settings
from llamacli.cli.framework.command import command, group
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import CommonOptions, JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.errors import LlamacliError, SettingsError, UsageError
from llamacli.store.files import paths
from llamacli.store.models.references import is_path
from llamacli.store.settings import settings as store

KEY_HELP = "An option's long name, aliases.NAME, profiles.NAME.OPTION or models.NAME.OPTION."

KeyArgument = Annotated[str, argument(metavar="KEY", help=KEY_HELP)]
ProjectOption = Annotated[
    bool, option("--project", help=f"Use {paths.PROJECT_SETTINGS_NAME} of this directory's project.", environment=False)
]


@command(
    examples=(
        ("What is set, and where?", "llamacli config show --origin"),
        ("What would count for one model in one profile?", "llamacli config show -m qwen --profile careful"),
    )
)
def show(
    app: AppContext,
    key: Annotated[tuple[str, ...], argument(metavar="KEY", help="Only these options.")] = (),
    *,
    common: CommonOptions,
    model: Annotated[str | None, option("-m", "--model", metavar="MODEL", help="Show what counts for this model.")] = None,
    origin: Annotated[bool, option("--origin", help="Say where each value came from.", environment=False)] = False,
    all: Annotated[bool, option("--all", help="Also what has its built-in default.", environment=False)] = False,  # noqa: A002
    json: JsonOption = False,
) -> None:
    """Show the settings that count here.

    A value comes from the environment, from the project's settings file, from the user's, from what the model's metadata
    recommends, or it is built in; the first that has one wins. Flags on a command line come before all of them.
    """
    from llamacli.cli.config.effective import effective
    from llamacli.render.config import format_settings, settings_document

    found = effective(app.console.environ, profile=common.profile, model=model, built_in=all or bool(key))
    chosen = [found[name] for name in map(option_name, key) if name in found] if key else list(found.values())
    if json:
        app.console.write(json_format.dumps(settings_document(chosen), indent=2) + "\n")
    else:
        app.console.write(format_settings(chosen, origin=origin))


@command(examples=(("Use a value in a script.", "llamacli config get model"),))
def get(app: AppContext, key: KeyArgument, *, common: CommonOptions) -> None:
    """Write the value of one option.

    It is the value that counts here, as `config show` finds it; of an alias, a profile or a model what the files say.
    """
    from llamacli.cli.config.effective import effective
    from llamacli.render.config import plain_value

    place = place_of(key)
    if place[0] == "defaults":
        setting = effective(app.console.environ, profile=common.profile, model=None, built_in=True).get(place[-1])
        value = setting.value if setting else None
        if setting is not None and value is None:
            raise LlamacliError(f"{key} is not set", hint=f"built in: {setting.origin.where}")
    else:
        value = next((one for file in settings.current().files if (one := at(file, place)) is not None), None)
    if value is None:
        raise LlamacliError(f"{key} is not set")
    app.console.show(plain_value(value) + "\n")


@command(
    name="set",
    examples=(
        ("Change a default.", "llamacli config set temp 0.3"),
        ("Give a model a short name.", "llamacli config set aliases.qwen hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"),
        ("Put an option into a profile.", "llamacli config set profiles.careful.temp 0"),
    ),
)
def set_(
    app: AppContext,
    key: KeyArgument,
    value: Annotated[tuple[str, ...], argument(metavar="VALUE", help="The value; several make a list.")],
    *,
    project: ProjectOption = False,
) -> None:
    """Set an option in the settings file.

    The value is checked first. Comments and order in the file stay as they are.
    """
    from llamacli.store.settings import edit as settings_edit

    place = place_of(key)
    file = settings_path(project)
    settings_edit.set_value(file, place, value_of(place, value), lambda one: store.problems(one, settings.all_keys()))


@command(examples=(("Go back to the built-in default.", "llamacli config unset temp"),))
def unset(app: AppContext, key: KeyArgument, *, project: ProjectOption = False) -> None:
    """Take an option out of the settings file."""
    from llamacli.store.settings import edit as settings_edit

    file = settings_path(project)
    as_written = tuple(key.split(".")) if "." in key else ("defaults", key)  # a mistake, too, can be taken out
    if not settings_edit.unset_value(file, as_written) and not settings_edit.unset_value(file, place_of(key)):
        raise UsageError(f"{key} is not set in {file}", hint="`llamacli config show --origin` tells where it is")


@command(examples=(("Look at the file.", 'cat "$(llamacli config path)"'),))
def path(app: AppContext, *, project: ProjectOption = False) -> None:
    """Write the path of the settings file, whether it exists or not."""
    app.console.show(f"{settings_path(project)}\n")


@command(examples=(("Change the settings by hand.", "llamacli config edit"),))
def edit(app: AppContext, *, project: ProjectOption = False) -> None:
    """Open the settings file in an editor, and check it afterwards.

    The editor is $VISUAL, $EDITOR, nano or vi. A file that does not exist yet begins with a commented example.
    """
    from llamacli.store.settings import edit as settings_edit

    if not (app.console.terminals.stdin and app.console.terminals.stdout):
        raise UsageError("config edit needs a terminal", hint="`llamacli config set` works without one")
    environ = app.console.environ
    editor = environ.get("VISUAL") or environ.get("EDITOR") or shutil.which("nano") or shutil.which("vi")
    if not editor:
        raise UsageError("there is no editor", hint="set EDITOR")
    file = settings_path(project)
    settings_edit.create(file)
    try:
        status = subprocess.run([*shlex.split(editor), str(file)], check=False).returncode
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot run the editor {editor}: {error}", hint="look at VISUAL and EDITOR") from error
    if status:
        raise LlamacliError(f"the editor {editor} ended with status {status}")
    check_files(app, [file])


@command(examples=(("Look for mistakes.", "llamacli config check"),))
def check(
    app: AppContext,
    file: Annotated[tuple[Path, ...], argument(metavar="FILE", help="Other files than those that count here.")] = (),
) -> None:
    """Look for mistakes in the settings files and in the environment.

    Each is written with its line. Exit status 2 means that there are some.
    """
    check_files(app, list(file) or [one for one in (paths.project_settings_file(), paths.settings_file()) if one], bool(file))


config = group(
    "config", show, get, set_, unset, path, edit, check,
    help="Show, check and change the settings.",
    examples=(
        ("What is set, and where?", "llamacli config show --origin"),
        ("Change a default.", "llamacli config set temp 0.3"),
    ),
)  # fmt: skip
for _one in (get, set_, unset, path, edit, check, show):
    _one.reads_settings = False  # they must work when the settings are broken
set_.takes_numbers = True


def check_files(app: AppContext, files: list[Path], given: bool = False) -> None:
    """Write what is wrong with the files and, unless they were `given`, with the environment.

    Raises SettingsError if anything is, UsageError for a given file that does not exist.
    """
    from llamacli.cli.config.effective import environment_problems
    from llamacli.render.config import format_problems
    from llamacli.store.settings.check import examine

    found: list[store.Problem] = [] if given else environment_problems(app.console.environ)
    for file in files:
        wrong = examine(file, store.scope_of(file), settings.all_keys())
        if wrong is None and given:
            raise UsageError(f"there is no file {file}")
        found += wrong or []
    if found:
        app.console.write(format_problems(found))
        raise SettingsError("1 mistake in the settings" if len(found) == 1 else f"{len(found)} mistakes in the settings")
    app.console.note("no mistakes in the settings")


def settings_path(project: bool) -> Path:
    """The file to look at or to change."""
    if project:
        return paths.project_settings_file() or Path.cwd() / paths.PROJECT_SETTINGS_NAME
    return paths.settings_file()


def place_of(key: str) -> store.Place:
    """Where a key stands in the file: `temp`, `aliases.NAME`, `profiles.NAME.temp`. Raises UsageError."""
    table, dot, rest = key.partition(".")
    if table == "aliases" and rest:
        return "aliases", rest
    if table in ("profiles", "models") and rest:
        name, dot, last = rest.rpartition(".")
        if not name:
            raise UsageError(f"{key} is not complete", hint=f"write {table}.NAME.OPTION")
        return table, name, option_name(last)
    return "defaults", option_name(rest if table == "defaults" and dot else key)


def option_name(word: str) -> str:
    """An option's name in the settings. Raises UsageError with a near one."""
    keys = settings.all_keys()
    key = keys.get(store.spelling(word))
    if key is None:
        near = difflib.get_close_matches(store.spelling(word), list(keys), n=1)
        hint = f"did you mean {near[0]}?" if near else "`llamacli config show --all` lists them"
        raise UsageError(f"there is no option {word}", hint=hint)
    return key.name


def value_of(place: store.Place, texts: tuple[str, ...]) -> object:
    """What to write into the file. Paths become absolute, because in the file they would count from its folder."""
    if place[0] == "aliases":
        if len(texts) != 1 or not texts[0]:
            raise UsageError("an alias takes one value, the model it stands for")
        return absolute(texts[0])
    key = settings.all_keys()[place[-1]]
    try:
        values = [settings.from_text(key, absolute(text) if key.path else text) for text in texts]
        if len(values) == 1:
            return values[0]
        key.convert(values)
        return values
    except ValueError as error:
        raise UsageError(f"{place[-1]}: {error}") from None


def absolute(text: str) -> str:
    """The text, or the absolute path if it is a path."""
    return str(Path(text).expanduser().absolute()) if is_path(text) else text


def at(file: store.SettingsFile, place: store.Place) -> object:
    """What stands at a place of a file, however it is spelled; None if nothing does."""
    if place[0] == "aliases":
        return file.data.get("aliases", {}).get(place[1])
    table = file.table(place[:-1]) or {}
    return next((value for name, value in table.items() if option_name(name) == place[-1]), None)
