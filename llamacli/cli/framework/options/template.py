"""The prompt template and the values of its variables."""

from __future__ import annotations

from typing import Annotated, ClassVar

from llamacli.cli.framework.parameters import option
from llamacli.values import dataclass

TEMPLATE_OPTION = "prompt_template"
"""The parameter that names a prompt template."""


def parse_variable(text: str) -> tuple[str, str]:
    """Parse NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError(f"'{text}' is not NAME=VALUE, such as language=French")
    return name.strip(), value


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateOptions:
    """The prompt template and the values of its variables."""

    PANEL: ClassVar[str] = "Prompt"

    prompt_template: Annotated[
        str | None,
        option(
            "-T", "--prompt-template", metavar="TEMPLATE",
            help="Prompt template with its options: a name from `llamacli templates list`, or a file.",
        ),
    ] = None  # fmt: skip
    var: Annotated[
        tuple[tuple[str, str], ...],
        option(
            "--var", metavar="NAME=VALUE", parser=parse_variable, environment=False,
            help="Value of a variable of the template; can be repeated.",
        ),
    ] = ()  # fmt: skip
