"""Files that define tools: OpenAI's list with a command for each tool, and `mcpServers` files. Nothing is started here.

A tool with its command, an extension of OpenAI's format:

    {"type": "function", "function": {"name": ..., "description": ..., "parameters": {...}},
     "command": ["program", "argument"], "timeout": 30, "env": {"NAME": "value"}, "cwd": "folder"}

A program with a slash and `cwd` are relative to the folder of the file. Without `cwd` a command runs in the current directory.
`${NAME}` and `${NAME:-default}` in a server's entry are replaced by environment variables, and unknown keys of servers, which
other programs define, are ignored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llamacli.engine.chat.message import read_tools
from llamacli.errors import LlamacliError, UsageError
from llamacli.tools.command import SECONDS, Command
from llamacli.tools.servers import Server
from llamacli.tools.toolbox import Check, Offer, accept_any, check_schema

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_COMMAND_KEYS = {"type", "function", "command", "timeout", "env", "cwd"}
_TRANSPORTS = {"stdio": "command", "http": "url", "streamable-http": "url", "streamableHttp": "url"}


def read_commands(
    document: Any, folder: Path, environ: Mapping[str, str], *, check: Check = accept_any
) -> tuple[tuple[Offer, ...], tuple[str, ...]]:
    """The usable tools of OpenAI's list, each with its command, and a message about each unusable one.

    A tool is unusable if its parameters are not a JSON schema of an object, or fail `check`. `folder` is that of the file.

    Raises:
        UsageError: if the document is not such a list, or no tool is usable; the message names the tool, counting from 1, and
            the mistake.
    """
    if isinstance(document, Mapping) and "mcpServers" in document:
        raise UsageError("the file defines MCP servers, not commands", hint="use --mcp instead")
    tools = read_tools(document)
    if not tools:
        raise UsageError("no tools found")
    offers, problems = [], []
    for number, (tool, entry) in enumerate(zip(tools, document, strict=True), start=1):
        place = f"tool {number} ({tool.name if tool.name.isprintable() else '?'})"
        check_name(tool.name, place)
        _check_keys(entry, place)
        command = _command(entry, place, folder, environ)
        try:
            check_schema(tool.parameters)
            check(tool)
        except LlamacliError as error:
            problems.append(f"{place} is left out: {error.message}")
            continue
        offers.append(Offer(tool, " ".join(command.words), command.run))
    if not offers:
        raise UsageError(f"no usable tools: {'; '.join(problems)}")
    return tuple(offers), tuple(problems)


def read_servers(document: Any, folder: Path, environ: Mapping[str, str]) -> tuple[Server, ...]:
    """The enabled MCP servers of a file.

    Raises:
        UsageError: if there are none, or one is invalid; the message names the server and the mistake.
    """
    servers = document.get("mcpServers") if isinstance(document, Mapping) else None
    if not isinstance(servers, Mapping):
        raise UsageError('object "mcpServers" not found')
    found = []
    for name, entry in servers.items():
        place = f"server {name if name.isprintable() else '?'}"
        check_name(name, place)
        if not isinstance(entry, Mapping):
            raise UsageError(f"{place} must be an object")
        if not entry.get("disabled", False):
            found.append(_server(name, _expanded(entry, environ, place), place, folder))
    if not found:
        raise UsageError("no enabled servers found")
    return tuple(found)


def check_name(name: str, place: str) -> None:
    """Raise UsageError unless the name is safe to show in a prompt and to type."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{place}: a name must have 1 to 64 letters, digits, '_', '-' or '.'")


def _command(entry: Mapping[str, Any], place: str, folder: Path, environ: Mapping[str, str]) -> Command:
    words = _texts(entry, "command", place)
    if not words or not words[0]:
        raise UsageError(f"{place} has no command", hint='write "command": ["program", "argument"]')
    return Command(
        words=(_program(words[0], folder), *words[1:]),
        environ={**environ, **_table(entry, "env", place)},
        folder=_folder(entry, place, folder),
        seconds=_seconds(entry, place, SECONDS),
    )


def _server(name: str, entry: Mapping[str, Any], place: str, folder: Path) -> Server:
    kind = entry.get("type", "stdio" if "command" in entry else "http")
    needed = _TRANSPORTS.get(kind) if isinstance(kind, str) else None
    if needed is None:
        raise UsageError(f"{place}: unknown transport {kind!r}", hint="supported: stdio and http (streamable)")
    value = entry.get(needed)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{place} needs a string {needed!r}")
    if needed == "url" and not value.startswith(("http://", "https://")):
        raise UsageError(f"{place}: {value} is not an http or https address")
    return Server(
        name=name,
        command=(_program(value, folder), *_texts(entry, "args", place)) if needed == "command" else (),
        environ=_table(entry, "env", place),
        folder=_folder(entry, place, folder),
        url=value if needed == "url" else "",
        headers=_table(entry, "headers", place),
        seconds=_seconds(entry, place, SECONDS),
    )


def _program(word: str, folder: Path) -> str:
    """Resolve a program with a slash against `folder`; one without is found on the PATH when it is run."""
    return os.path.abspath(folder / Path(word).expanduser()) if "/" in word else word  # noqa: PTH100 - keep links


def _folder(entry: Mapping[str, Any], place: str, folder: Path) -> Path | None:
    name = entry.get("cwd")
    if name is None:
        return None
    if not isinstance(name, str) or not name:
        raise UsageError(f"{place}: cwd must be a string")
    return folder / Path(name).expanduser()


def _texts(entry: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    words = entry.get(key, [])
    if not isinstance(words, list) or not all(isinstance(word, str) and "\0" not in word for word in words):
        raise UsageError(f"{place}: {key} must be a list of strings")
    return tuple(words)


def _table(entry: Mapping[str, Any], key: str, place: str) -> dict[str, str]:
    table = entry.get(key, {})
    if not isinstance(table, Mapping) or not all(isinstance(value, str) for value in table.values()):
        raise UsageError(f"{place}: {key} must be an object of strings")
    return dict(table)


def _seconds(entry: Mapping[str, Any], place: str, default: float) -> float:
    seconds = entry.get("timeout", default)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e6:
        raise UsageError(f"{place}: timeout must be a number of seconds")
    return float(seconds)


def _check_keys(entry: Mapping[str, Any], place: str) -> None:
    """Raise UsageError for an unknown key: a misspelled time limit would be ignored silently."""
    unknown = [key for key in entry if key not in _COMMAND_KEYS]
    if unknown:
        raise UsageError(f"{place}: unknown key {unknown[0]!r}", hint=f"valid keys: {', '.join(sorted(_COMMAND_KEYS))}")


def _expanded(value: Any, environ: Mapping[str, str], place: str) -> Any:
    """A value with its environment variables replaced, at any depth. Raises UsageError if one is not set."""

    def replaced(match: re.Match[str]) -> str:
        found = environ.get(match[1], match[2])
        if found is None:
            raise UsageError(f"{place}: the environment variable {match[1]} is not set")
        return found

    if isinstance(value, str):
        return _VARIABLE.sub(replaced, value)
    if isinstance(value, list):
        return [_expanded(one, environ, place) for one in value]
    if isinstance(value, Mapping):
        return {key: _expanded(one, environ, place) for key, one in value.items()}
    return value
