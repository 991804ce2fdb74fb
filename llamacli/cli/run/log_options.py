"""Options of the log of `llamacli run`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from llamacli.cli.framework.parameters import option
from llamacli.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """The log of prompts and answers."""

    PANEL: ClassVar[str] = "Log"

    log: Annotated[bool, option("--log/--no-log", help="Keep the prompt and the answer, for `llamacli log` and -C.")] = False
    continue_last: Annotated[
        bool, option("-C", "--continue", help="Go on after the last answer in the log; implies --log.", environment=False)
    ] = False
    log_id: Annotated[
        int | None,
        option("--log-id", metavar="N", help="Go on after answer N in the log; implies --log.", environment=False),
    ] = None

    @property
    def continues(self) -> bool:
        """True if the prompt follows an answer in the log."""
        return self.continue_last or self.log_id is not None

    @property
    def is_kept(self) -> bool:
        """True if the prompt and the answer are kept."""
        return self.log or self.continues
