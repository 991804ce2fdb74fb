"""The system prompt and the chat template."""

from pathlib import Path
from typing import Annotated, ClassVar

from llamacli.cli.framework.inputs.files import read_text_file
from llamacli.cli.framework.parameters import option
from llamacli.errors import UsageError
from llamacli.values import dataclass

_TEMPLATE_FILES = (".jinja", ".jinja2", ".j2", ".txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """The system prompt and the chat template."""

    PANEL: ClassVar[str] = "Prompt"

    system_prompt: Annotated[str | None, option("-sys", "--system-prompt", help="System prompt.")] = None
    chat_template: Annotated[
        str | None,
        option(
            "--chat-template", metavar="NAME|FILE", shows="the model's",
            help="Chat template: the name of a built-in one, a Jinja file, or Jinja text.",
        ),
    ] = None  # fmt: skip

    def template(self) -> str | None:
        """The template's name or its Jinja text. Raises UsageError if it is empty or a file that cannot be read."""
        given = self.chat_template
        if given is None or "{{" in given or "{%" in given:
            return given
        if not given.strip():
            raise UsageError("the chat template is empty")
        if "/" in given or given.endswith(_TEMPLATE_FILES) or Path(given).is_file():
            return read_text_file(Path(given))
        return given
