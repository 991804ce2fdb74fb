"""The user's shell: which one it is, on which system, and a command line that it runs in the foreground."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llamacli.errors import LlamacliError, UsageError

SHELLS = ("bash", "zsh", "fish", "dash", "ash", "ksh", "mksh", "sh", "tcsh", "csh", "nu", "elvish", "xonsh", "pwsh")
"""Shells that run a command line with `-c`."""

_SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class Shell:
    """A shell by its path."""

    path: str

    @property
    def name(self) -> str:
        """Its name without the folder."""
        return Path(self.path).name

    def run(self, command: str, environ: Mapping[str, str]) -> int:
        """Run a command line with our streams, and return its exit status; 128 and the number for a signal.

        Raises:
            LlamacliError: if the shell cannot be run.
        """
        try:
            status = subprocess.run([self.path, "-c", command], env=dict(environ), check=False).returncode
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LlamacliError(f"cannot run {self.path}: {reason}", hint="--shell selects another shell") from error
        return status if status >= 0 else _SIGNALLED - status


def find_shell(environ: Mapping[str, str], given: str | None = None) -> Shell:
    """Return the shell `given` by name or path, else the one that started this program, $SHELL, or /bin/sh.

    Raises:
        UsageError: if the given one is not found.
    """
    path = environ.get("PATH")
    if given is not None:
        found = shutil.which(given, path=path)
        if found is None:
            raise UsageError(f"--shell: {given} is not found", hint="it is the name or the path of a shell")
        return Shell(found)
    parent = _parent()
    for candidate in (parent if parent in SHELLS else None, environ.get("SHELL")):
        found = shutil.which(candidate, path=path) if candidate else None
        if found is not None:
            return Shell(found)
    return Shell("/bin/sh")


def system_name() -> str:
    """Return the system as a person names it, such as Debian GNU/Linux 12."""
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}, whose tools are those of BSD"
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _parent() -> str:
    """Return the name of the program that started this one; empty where the system does not show it."""
    try:
        return Path(f"/proc/{os.getppid()}/comm").read_text(encoding="utf-8", errors="replace").strip().lstrip("-")
    except OSError:
        return ""
