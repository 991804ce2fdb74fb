"""The server that computes in place of this machine."""

from typing import Annotated, ClassVar

from llamacli.cli.framework.parameters import option
from llamacli.values import dataclass


def parse_key_reference(text: str) -> str:
    """Check where a key is from: a key itself does not belong on a command line, where other users see it."""
    kind, colon, place = text.partition(":")
    if kind not in ("env", "file", "keyring") or not colon or not place:
        raise ValueError("a key is named by env:VARIABLE, file:PATH or keyring:SERVICE")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOptions:
    """The server that computes in place of this machine."""

    PANEL: ClassVar[str] = "Server"

    url: Annotated[
        tuple[str, ...],
        option(
            "--url",
            metavar="ADDRESS",
            help="Use the model of a server with OpenAI's API: http://host:port, https://host/v1 or unix:///socket; "
            "can be repeated. -m then names a model of the server.",
        ),
    ] = ()
    key: Annotated[
        str | None,
        option(
            "--key",
            metavar="env:NAME|file:PATH|keyring:NAME",
            parser=parse_key_reference,
            shows="$LLAMACLI_API_KEY",
            needs=("url",),
            help="Where the key of the server is.",
        ),
    ] = None
    insecure: Annotated[
        bool, option("--insecure", needs=("url",), help="Send the key over plain http to another machine, too.")
    ] = False
