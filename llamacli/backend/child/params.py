"""Parameters of the engine's process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llamacli.errors import UsageError

SandboxMode = Literal["auto", "require", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildParams:
    """Parameters of the engine's process.

    `sandbox`: "auto" uses the parts that the system has, "require" refuses to work without one of them. `patience`: seconds
    without any progress after which the process is taken for dead.
    """

    sandbox: SandboxMode = "auto"
    patience: float = 300.0

    def __post_init__(self) -> None:
        if not 2 <= self.patience <= 86400:
            raise UsageError("patience must be from 2 to 86400 seconds", parameter="patience")
