"""The prompt template and the values of its variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.parameters import option
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.cli.framework.templates import FilledTemplate


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

    def filled(self, console: Console) -> FilledTemplate | None:
        """Return the template with its values, None without one. Says what of a foreign template is not used.

        Raises:
            UsageError: if it cannot be read, or a value is missing.
        """
        if self.prompt_template is None:
            if self.var:
                raise UsageError("--var needs a template", hint="-T selects one")
            return None
        from llamacli.cli.framework.templates import FilledTemplate
        from llamacli.store.templates.library import load

        template = load(self.prompt_template)
        for note in template.notes:
            console.note(f"template {template.name}: {note}")
        return FilledTemplate(template, template.values(dict(self.var)))
