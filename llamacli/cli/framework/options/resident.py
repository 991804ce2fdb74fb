"""Whether the engine stays after the command."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from llamacli.backend.child.params import ChildParams
from llamacli.cli.framework import parsers
from llamacli.cli.framework.options.model import ModelOptions
from llamacli.cli.framework.parameters import option
from llamacli.values import dataclass

KeepAliveOption = Annotated[
    float | None,
    option(
        "--keep-alive", metavar="TIME", parser=parsers.parse_duration, shows="off",
        help="Time for which the engine stays loaded after its last use, such as 10m.",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentOptions:
    """Whether the engine stays with its model after the command, for the next one."""

    PANEL: ClassVar[str] = "Model"
    LOADS: ClassVar[bool] = True

    keep_alive: KeepAliveOption = None

    def child(self, model: ModelOptions) -> ChildParams:
        """The parameters of the engine's process."""
        return dataclasses.replace(model.child(), keep_alive=self.keep_alive)
