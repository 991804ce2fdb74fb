"""Options of `llamacli do` alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from llamacli.cli.framework.options.documents import DocumentOptions
from llamacli.cli.framework.parameters import argument, option

TaskArgument = Annotated[
    tuple[str, ...],
    argument(metavar="TASK", help="What the command is to do, in one's own words; - is standard input."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoOptions(DocumentOptions):
    """The material of the task, the shell, and whether the command may run."""

    PANEL: ClassVar[str] = "Command"

    shell: Annotated[
        str | None,
        option(
            "--shell", metavar="bash|zsh|fish|PATH", shows="yours", help="Shell that the command is for.", environment=False
        ),
    ] = None
    print: Annotated[
        bool,
        option("--print", help="Write the command to standard output, and run nothing.", environment=False),
    ] = False
    json: Annotated[
        bool,
        option("--json", help="Write the command, its explanation and its risks as JSON, and run nothing.", environment=False),
    ] = False
