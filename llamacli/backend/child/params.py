"""Parameters of the engine's process."""

from __future__ import annotations

from typing import Literal

from llamacli.errors import UsageError
from llamacli.values import dataclass

_LONGEST_STAY = 30 * 86400

SandboxMode = Literal["auto", "require", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildParams:
    """Parameters of the engine's process.

    `sandbox`: "auto" uses the parts that the system has, "require" refuses to work without one of them. `patience`: seconds
    without any progress after which the process is taken for dead. `keep_alive`: seconds for which it stays with its model
    after it was last used, for the next program with the same model and options; None ends it with its parent. `prompt_cache`:
    evaluated prompts are kept on disk, in `cache_size` bytes (None: the cache's own default), and looked up there. `question`:
    bytes that stand for what will be asked first; its evaluated prompt is read while the model loads. `rpc`: the nodes that it
    may connect to.
    """

    sandbox: SandboxMode = "auto"
    patience: float = 300.0
    keep_alive: float | None = None
    prompt_cache: bool = False
    cache_size: int | None = None
    question: bytes = b""
    rpc: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 2 <= self.patience <= 86400:
            raise UsageError("patience must be from 2 to 86400 seconds", parameter="patience")
        if self.keep_alive is not None and not 1 <= self.keep_alive <= _LONGEST_STAY:
            raise UsageError(f"keep_alive must be from 1 to {_LONGEST_STAY} seconds", parameter="keep_alive")
        if self.cache_size is not None and self.cache_size < 1:
            raise UsageError("cache_size must be at least 1 byte", parameter="cache_size")
