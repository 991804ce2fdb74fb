"""`/`: the page for people."""

from __future__ import annotations

from llamacli.server.http.exchange import Exchange
from llamacli.server.page import load_page


async def page(exchange: Exchange) -> None:
    """Send the page."""
    found = load_page()
    await exchange.reply(found.body, headers=[(name.encode(), value.encode()) for name, value in found.headers.items()])
