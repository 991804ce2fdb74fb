"""The keys of the server's clients: names, hashes and limits in one file. The keys themselves are kept nowhere."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamacli.errors import InvalidJSONError, SettingsError, UsageError
from llamacli.json_text import parse_json
from llamacli.store.files import paths
from llamacli.store.files.atomic import replace_file

PREFIX = "sk-llamacli-"

_SIZE_LIMIT = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A client of the server. `digest` is the SHA-256 of its key in hex, `limit` its own rate limit as text, or None."""

    name: str
    digest: str
    limit: str | None = None


def default_file() -> Path:
    """Return the file of keys beside the user's settings."""
    return paths.settings_file().parent / "keys.json"


def digest_of(key: str) -> str:
    """Return the hash of a key. Keys are random, so that a plain hash cannot be reversed by guessing."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Return the keys of a file.

    Raises:
        SettingsError: if it does not exist, cannot be read or is not a file of keys.
    """
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise SettingsError(f"{path} is larger than {_SIZE_LIMIT >> 20} MiB, the limit of files of keys")
        document = parse_json(path.read_bytes(), source=str(path))
    except FileNotFoundError as error:
        hint = f"llamacli serve key new NAME --keys-file {path} writes one"
        raise SettingsError(f"{path} does not exist", hint=hint) from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except InvalidJSONError as error:
        hint = "llamacli serve key new NAME --keys-file FILE writes one"
        raise SettingsError(f"not a file of keys: {error.message}", hint=hint) from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise SettingsError(f"{path} is not a file of keys: it has no list of keys")
    keys = tuple(_read(entry, number, path) for number, entry in enumerate(entries, start=1))
    names = [key.name for key in keys]
    if len(set(names)) < len(names):
        raise SettingsError(f"{path} has two keys of the same name")
    return keys


def add_key(path: Path, name: str, *, limit: str | None = None) -> str:
    """Make a key, add its hash to a file, and return the key.

    Raises:
        UsageError: if the name is taken or empty.
        SettingsError: if the file cannot be read or written.
    """
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise UsageError("the name of a key must be printable, of 1 to 100 characters")
    keys = read_keys(path) if path.exists() else ()
    if any(key.name == name for key in keys):
        raise UsageError(f"there is a key of the name {name} already", hint=f"llamacli serve key rm {name} removes it")
    secret = PREFIX + secrets.token_urlsafe(32)
    _write(path, [*keys, ApiKey(name=name, digest=digest_of(secret), limit=limit)])
    return secret


def remove_key(path: Path, name: str) -> None:
    """Remove a key from a file.

    Raises:
        UsageError: if there is no key of this name.
        SettingsError: if the file cannot be read or written.
    """
    keys = read_keys(path)
    kept = [key for key in keys if key.name != name]
    if len(kept) == len(keys):
        raise UsageError(f"there is no key of the name {name}", hint="llamacli serve key list shows the names")
    _write(path, kept)


def _read(entry: Any, number: int, path: Path) -> ApiKey:
    def text(name: str) -> str | None:
        value = entry.get(name) if isinstance(entry, dict) else None
        return value if isinstance(value, str) else None

    name, digest = text("name"), text("sha256")
    if not name or digest is None or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise SettingsError(f"{path}: key {number} has no name or no sha256 of 64 hex digits")
    return ApiKey(name=name, digest=digest, limit=text("limit"))


def _write(path: Path, keys: Sequence[ApiKey]) -> None:
    """Replace the file at once, readable by its owner only."""
    entries = [{"name": key.name, "sha256": key.digest, **({"limit": key.limit} if key.limit else {})} for key in keys]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"keys": entries}, indent=2, ensure_ascii=False) + "\n"
        replace_file(path, text.encode())
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error
