"""HTML as Markdown, with Beautiful Soup, lxml and markdownify: the text that a reader sees, without menus."""

from __future__ import annotations

import re
import warnings
from email.message import Message
from typing import TYPE_CHECKING

from llamacli.documents.damage import DAMAGE
from llamacli.documents.document import Part
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

_UNSEEN = frozenset((
    "script", "style", "template", "noscript", "svg", "canvas", "iframe", "object", "head", "nav",
    "button", "select", "textarea", "dialog",
))  # fmt: skip
_HIDDEN = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_SPACES = re.compile(r"[^\S\n]+\n")
_BLANKS = re.compile(r"\n{3,}")


def read_html(data: bytes, name: str, media_type: str = "") -> tuple[Part, ...]:
    """Return the text of a page, its title before it if there is no heading.

    The charset of the server takes precedence over that of the page.

    Raises:
        UsageError: if the page has no text, or its elements are nested too deeply.
    """
    text = markdown_of(data, name, encoding=charset_of(media_type), is_page=True)
    if not text:
        hint = "such pages are often made by a script: save it in a browser, and read that file"
        raise UsageError(f"{name} has no text", hint=hint)
    return (Part(text),)


def charset_of(media_type: str) -> str | None:
    """Return the charset of a Content-Type; None without one."""
    message = Message()
    message["Content-Type"] = media_type
    found = message.get_param("charset")
    return found if isinstance(found, str) else None


def markdown_of(html: bytes | str, name: str, *, encoding: str | None = None, is_page: bool = False) -> str:
    """Return HTML as Markdown. `is_page`: only the main part counts, if it is marked, and the title becomes a heading.

    Raises:
        UsageError: if the elements are nested too deeply.
    """
    from bs4 import BeautifulSoup
    from bs4.exceptions import ParserRejectedMarkup
    from markdownify import MarkdownConverter

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what looks like XML, or like the name of a file
            page = BeautifulSoup(html, "lxml", from_encoding=encoding if isinstance(html, bytes) else None)
        title = page.title.get_text(" ", strip=True) if is_page and page.title is not None else ""
        _remove_unseen(page)
        main = page.find("main") or page.find(role="main") if is_page else None
        converter = MarkdownConverter(
            heading_style="ATX", bullets="-", strip=["a", "img"],
            escape_asterisks=False, escape_underscores=False, escape_misc=False,
        )  # fmt: skip
        text = _tidy(converter.convert_soup(main or page))
    except RecursionError as error:
        raise UsageError(f"{name} has HTML that is nested too deeply") from error
    except (ParserRejectedMarkup, *DAMAGE) as error:
        raise UsageError(f"{name} has HTML that cannot be parsed") from error
    return f"# {title}\n\n{text}" if text and title and not re.search(r"^# ", text, re.MULTILINE) else text


def _remove_unseen(page: BeautifulSoup) -> None:
    """Remove what a reader does not see: a model would read it, and some pages hide text for models."""
    for element in page.find_all(True):
        attributes = element.attrs
        if element.name in _UNSEEN or "hidden" in attributes or _HIDDEN.search(str(attributes.get("style", ""))):
            element.extract()


def _tidy(text: str) -> str:
    return _BLANKS.sub("\n\n", _SPACES.sub("\n", text)).strip()
