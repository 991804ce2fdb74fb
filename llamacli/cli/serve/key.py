"""`llamacli serve key`: the keys of a server's clients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from llamacli.cli.framework.command import command, group
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.parameters import argument, option
from llamacli.server.security.rate_limit import parse_rate_limit
from llamacli.store import api_keys


def parse_limit_text(text: str) -> str:
    """Check the text of a rate limit, and return it as it is."""
    parse_rate_limit(text)
    return text


NameArgument = Annotated[str, argument(metavar="NAME", help="Name of the client.")]

FileOption = Annotated[
    Path | None,
    option("--keys-file", metavar="FILE", shows="keys.json beside the settings", help="File of keys."),
]

LimitOption = Annotated[
    str | None,
    option(
        "--limit", metavar="LIMITS", parser=parse_limit_text, shows="--rate-limit of the server",
        help="Limits of this key, such as 60/min,20000tok/min.", environment=False,
    ),
]  # fmt: skip


@command(examples=(("Make a key for a laptop.", "llamacli serve key new laptop --limit 60/min"),))
def new(app: AppContext, name: NameArgument, *, keys_file: FileOption = None, limit: LimitOption = None) -> None:
    """Make a key, and print it.

    The file keeps only its hash: the key is shown once.
    """
    path = keys_file or api_keys.default_file()
    secret = api_keys.add_key(path, name, limit=limit)
    app.console.write(secret + "\n")
    app.console.note(f"added {name} to {path}: it works after a restart of the server, or SIGHUP")


@command(name="list", examples=(("Show who has a key.", "llamacli serve key list"),))
def list_(app: AppContext, *, keys_file: FileOption = None) -> None:
    """List the names of the keys, and their limits."""
    path = keys_file or api_keys.default_file()
    for key in api_keys.read_keys(path):
        app.console.write("\t".join((key.name, key.limit or "")).rstrip() + "\n")


@command(examples=(("Take a key back.", "llamacli serve key rm laptop"),))
def rm(app: AppContext, name: NameArgument, *, keys_file: FileOption = None) -> None:
    """Remove a key."""
    path = keys_file or api_keys.default_file()
    api_keys.remove_key(path, name)
    app.console.note(f"removed {name} from {path}: it works until the server restarts, or gets SIGHUP")


key = group(
    "key",
    new,
    list_,
    rm,
    help="Manage the keys of a server's clients.",
    examples=(("Make a key.", "llamacli serve key new laptop"),),
)
