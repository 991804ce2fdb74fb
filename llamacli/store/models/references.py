"""What the user may call a model, before anything is looked for."""

from __future__ import annotations

from collections.abc import Mapping

from llamacli.errors import SettingsError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Hosts that may be spoken to without TLS."""

SCHEMES = ("hf:", "https://", "http://", "ollama:", "lmstudio:")
"""How references begin that are neither words nor paths."""


def expand_alias(reference: str, aliases: Mapping[str, str]) -> str:
    """What `reference` means once aliases are followed. Raises SettingsError when they go round in a circle."""
    return alias_chain(reference, aliases)[-1]


def alias_chain(reference: str, aliases: Mapping[str, str]) -> list[str]:
    """`reference` and everything it is an alias for, in order. Raises SettingsError when they go round in a circle."""
    seen = [reference]
    while (target := aliases.get(seen[-1])) is not None:
        if target in seen:
            raise SettingsError(f"the alias {reference} goes round in a circle: {' -> '.join([*seen, target])}")
        seen.append(target)
    return seen


def is_path(reference: str) -> bool:
    """Whether the reference can only be a file's path: it has a slash, begins with `~` or `.`, or ends in `.gguf`."""
    if reference.startswith(SCHEMES):
        return False
    return "/" in reference or "\\" in reference or reference[:1] in ("~", ".") or reference.lower().endswith(".gguf")
