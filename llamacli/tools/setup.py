"""The tools of a command: those of files, and those of MCP servers, added when these have started."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llamacli.tools.servers import Servers
    from llamacli.tools.toolbox import Toolbox


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSetup:
    """The tools of a conversation. `servers` add theirs to `toolbox` when they have started; `expected` must then exist.

    `max_calls` is the maximum number of calls for one message.
    """

    toolbox: Toolbox | None = None
    servers: Servers | None = None
    expected: tuple[str, ...] = ()
    max_calls: int = 10


def join_servers(setup: ToolSetup, on_wait: Callable[[], None], warn: Callable[[str], None]) -> None:
    """Add the tools of the servers, which are started already. `on_wait` is called while waiting for them."""
    if setup.servers is None:
        return
    offers = setup.servers.wait(on_wait)
    for problem in setup.servers.problems:
        warn(problem)
    box = setup.toolbox
    if box is None:
        return
    for offer in offers:
        if any(one.tool.name == offer.tool.name for one in box.offers):
            warn(f"ignoring the tool {offer.tool.name} of an MCP server: another tool has this name")
        else:
            box.add((offer,))
    for name in setup.expected:
        names = [offer.tool.name for offer in box.offers]
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            warn(f"--allow-tool: unknown tool {name}" + (f" (did you mean {near[0]}?)" if near else ""))
