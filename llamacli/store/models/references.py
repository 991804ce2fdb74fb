"""The syntax of model references: schemes, paths and aliases."""

from __future__ import annotations

from collections.abc import Mapping

from llamacli.errors import SettingsError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Hosts that may be contacted without TLS."""

SCHEMES = ("hf:", "https://", "http://", "ollama:", "lmstudio:")
"""Prefixes of references that are neither words nor paths."""


def expand_alias(reference: str, aliases: Mapping[str, str]) -> str:
    """Return `reference` with aliases resolved. Raises SettingsError if they are circular."""
    return alias_chain(reference, aliases)[-1]


def alias_chain(reference: str, aliases: Mapping[str, str]) -> list[str]:
    """`reference` and its successive alias targets, in order. Raises SettingsError if they are circular."""
    seen = [reference]
    while (target := aliases.get(seen[-1])) is not None:
        if target in seen:
            raise SettingsError(f"the alias {reference} is circular: {' -> '.join([*seen, target])}")
        seen.append(target)
    return seen


def is_path(reference: str) -> bool:
    """Return whether the reference can only be a path: it has a slash, begins with `~` or `.`, or ends in `.gguf`."""
    if reference.startswith(SCHEMES):
        return False
    return "/" in reference or "\\" in reference or reference[:1] in ("~", ".") or reference.lower().endswith(".gguf")
