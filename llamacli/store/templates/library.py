"""Where templates are: the project's folder, the user's, those of llm and fabric, and the built-in ones.

A name means the first that has it. A path names a file, or a folder with a pattern of fabric.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from llamacli.errors import LlamacliError, UsageError
from llamacli.store.files import paths
from llamacli.store.templates.document import read_markdown, read_toml
from llamacli.store.templates.foreign import READERS, Reader, read_fabric, read_modelfile
from llamacli.store.templates.template import SIZE_LIMIT, PromptTemplate, Scope

_SUFFIXES: dict[str, Reader] = {".toml": read_toml, ".md": read_markdown, **READERS}
_MODELFILE = "modelfile"
_PATTERN = "system.md"
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)

NEW = '''\
description = "What this template is for"

# {input} is what you give it: the argument, files (-f) and piped text. --var tone=... sets {tone}.
prompt = """
Rewrite this text in a {tone} tone:

{input}
"""

[variables]
tone = "friendly"

# Options of the command line, which override the settings and are overridden by what you type.
[options]
temp = 0.3
'''
"""The text of a new template for the user to edit."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of templates. Names in it begin with `prefix`."""

    folder: Path
    scope: Scope
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A file or a pattern's folder that is a template by its name; it is not read yet."""

    name: str
    path: Path
    scope: Scope


def places() -> list[Place]:
    """The folders of templates, in order of precedence. They need not exist."""
    project = paths.project_templates_dir()
    found = [Place(project, "project")] if project is not None else []
    return [
        *found,
        Place(paths.templates_dir(), "user"),
        Place(Path(str(resources.files(__package__) / "builtin")), "built-in"),
        Place(paths.llm_templates_dir(), "llm", "llm:"),
        Place(paths.fabric_patterns_dir(), "fabric", "fabric:"),
    ]


def templates() -> list[Found]:
    """All templates, sorted by name within each folder; those that another one hides are left out."""
    found: dict[str, Found] = {}
    for place in places():
        for one in sorted(_in(place), key=lambda one: one.name):
            found.setdefault(one.name, one)
    return list(found.values())


def locate(name: str) -> Found:
    """Find a template by its name or path. Raises UsageError if there is none."""
    if is_template_path(name):
        path = Path(name).expanduser()
        if path.is_dir() and (path / _PATTERN).is_file():
            return Found(path.name, path, "file")
        if not path.is_file():
            raise UsageError(f"{path} is not a template", hint="it is neither a file nor a folder with system.md")
        return Found(path.stem, path, "file")
    known = templates()
    found = next((one for one in known if one.name == name), None)
    if found is None:
        near = difflib.get_close_matches(name, [one.name for one in known], n=1)
        hint = f"did you mean {near[0]}?" if near else "`llamacli templates list` shows them"
        raise UsageError(f"no template is called {name}", hint=hint)
    return found


def is_template_path(name: str) -> bool:
    """Return whether the name can only be a path: it has a slash or a suffix of templates, or begins with `~` or `.`."""
    return "/" in name or "\\" in name or name[:1] in ("~", ".") or name.lower().endswith((*_SUFFIXES, _MODELFILE))


def read(found: Found) -> PromptTemplate:
    """Parse a template. Raises UsageError."""
    path = found.path
    if path.is_dir():
        user = path / "user.md"
        text = read_text(user) if user.is_file() else None
        return read_fabric(read_text(path / _PATTERN), text, found.name, path, found.scope)
    reader = _SUFFIXES.get(path.suffix.lower())
    if path.name == _PATTERN:
        return read_fabric(read_text(path), None, path.absolute().parent.name, path, found.scope)
    if reader is None and (path.name.lower() == _MODELFILE or read_text(path).lstrip().upper().startswith("FROM ")):
        reader = read_modelfile
    if reader is None:
        raise UsageError(f"{path} has no format of templates", hint=f"its name must end in {', '.join(_SUFFIXES)}")
    return reader(read_text(path), found.name, path, found.scope)


def load(name: str) -> PromptTemplate:
    """Find and parse a template. Raises UsageError."""
    return read(locate(name))


def read_text(path: Path) -> str:
    """Read a template's file. Raises UsageError if it is unreadable, huge or not UTF-8."""
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
        if len(data) > SIZE_LIMIT:
            raise UsageError(f"{path} is larger than {SIZE_LIMIT >> 20} MiB, the limit of templates")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start:,}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error


def new_path(name: str, *, project: bool) -> Path:
    """Return where a new template of this name goes. Raises UsageError for a name that cannot be a file's."""
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise UsageError(f"{name} cannot be the name of a template", hint="use letters, digits, - and _")
    folder = paths.project_templates_dir() or Path.cwd() / paths.PROJECT_FOLDER_NAME / "templates"
    return (folder if project else paths.templates_dir()) / f"{name}.toml"


def create(name: str, text: str, *, project: bool) -> Path:
    """Write a new template and return its path. Raises UsageError if it exists, LlamacliError if it cannot be written."""
    path = new_path(name, project=project)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} exists", hint=f"`llamacli templates edit {name}` changes it") from error
    except OSError as error:
        raise LlamacliError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _in(place: Place) -> Iterator[Found]:
    try:
        files = list(place.folder.iterdir())
    except OSError:  # no such folder, or it may not be read
        return
    for file in files:
        if file.name.startswith("."):
            continue
        is_modelfile = file.name.lower() == _MODELFILE
        if (file / _PATTERN).is_file():
            yield Found(place.prefix + file.name, file, place.scope)
        elif (is_modelfile or file.suffix.lower() in _SUFFIXES) and file.is_file():
            yield Found(place.prefix + (file.name if is_modelfile else file.stem), file, place.scope)
