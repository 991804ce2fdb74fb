"""Canvases for charts: SVG, or pixels with Pillow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Literal, Protocol

from llamacli.errors import UsageError

if TYPE_CHECKING:
    from PIL import ImageFont

Anchor = Literal["start", "middle", "end"]
Position = tuple[float, float]

TEXT_WIDTH = 0.6
"""The average width of a character as a share of the font size: the layout does not know the font."""

_SCALE = 2
_MIDDLE = 0.35


class Canvas(Protocol):
    """A drawing surface, in pixels from the upper left. Text is positioned by the middle of its height."""

    def line(self, start: Position, end: Position, color: str, width: float = 1.0) -> None:
        """Draw a straight line."""

    def box(self, corner: Position, size: Position, color: str) -> None:
        """Draw a filled rectangle."""

    def path(self, positions: Sequence[Position], color: str, width: float) -> None:
        """Draw lines between positions."""

    def shape(self, positions: Sequence[Position], color: str) -> None:
        """Draw a filled polygon."""

    def text(
        self, position: Position, text: str, *, size: int, anchor: Anchor = "start", color: str = "#222", bold: bool = False
    ) -> None:
        """Draw one line of text."""

    def finish(self) -> bytes:
        """Return the content of the file."""


class SvgCanvas:
    """A self-contained SVG document with a white background."""

    def __init__(self, width: float, height: float, title: str) -> None:
        size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
        font = 'font-family="Helvetica, Arial, DejaVu Sans, sans-serif"'
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} role="img">\n<title>{_text(title)}</title>\n',
            '<rect width="100%" height="100%" fill="#fff"/>\n',
        ]

    def line(self, start: Position, end: Position, color: str, width: float = 1.0) -> None:
        """Draw a straight line."""
        (x1, y1), (x2, y2) = start, end
        self._parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-width="{width:g}"/>\n'
        )

    def box(self, corner: Position, size: Position, color: str) -> None:
        """Draw a filled rectangle."""
        (x, y), (width, height) = corner, size
        self._parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{color}"/>\n')

    def path(self, positions: Sequence[Position], color: str, width: float) -> None:
        """Draw lines between positions."""
        self._parts.append(
            f'<polyline points="{_points(positions)}" fill="none" stroke="{color}" stroke-width="{width:g}" '
            'stroke-linejoin="round"/>\n'
        )

    def shape(self, positions: Sequence[Position], color: str) -> None:
        """Draw a filled polygon."""
        self._parts.append(f'<polygon points="{_points(positions)}" fill="{color}"/>\n')

    def text(
        self, position: Position, text: str, *, size: int, anchor: Anchor = "start", color: str = "#222", bold: bool = False
    ) -> None:
        """Draw one line of text."""
        x, y = position[0], position[1] + _MIDDLE * size  # dominant-baseline is not supported everywhere
        look = f'font-size="{size}" text-anchor="{anchor}" fill="{color}"' + (' font-weight="bold"' if bold else "")
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {look}>{_text(text)}</text>\n')

    def finish(self) -> bytes:
        """Return the content of the file."""
        return ("".join(self._parts) + "</svg>\n").encode()


class PngCanvas:
    """A pixel image of twice the SVG's width and height, in Pillow's own font.

    Raises:
        UsageError: if Pillow is not installed.
    """

    def __init__(self, width: float, height: float, title: str) -> None:
        require_png()
        from PIL import Image, ImageDraw, PngImagePlugin

        self._image = Image.new("RGB", (round(width * _SCALE), round(height * _SCALE)), "#fff")
        self._draw = ImageDraw.Draw(self._image)
        self._about = PngImagePlugin.PngInfo()
        self._about.add_itxt("Title", title)
        self._fonts: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}

    def line(self, start: Position, end: Position, color: str, width: float = 1.0) -> None:
        """Draw a straight line."""
        self._draw.line([_scaled(start), _scaled(end)], color, round(width * _SCALE))

    def box(self, corner: Position, size: Position, color: str) -> None:
        """Draw a filled rectangle."""
        (x, y), (width, height) = corner, size
        self._draw.rectangle([_scaled(corner), _scaled((x + width, y + height))], color)

    def path(self, positions: Sequence[Position], color: str, width: float) -> None:
        """Draw lines between positions."""
        self._draw.line([_scaled(position) for position in positions], color, round(width * _SCALE), joint="curve")

    def shape(self, positions: Sequence[Position], color: str) -> None:
        """Draw a filled polygon."""
        self._draw.polygon([_scaled(position) for position in positions], color)

    def text(
        self, position: Position, text: str, *, size: int, anchor: Anchor = "start", color: str = "#222", bold: bool = False
    ) -> None:
        """Draw one line of text."""
        from PIL import ImageFont

        font = self._fonts.setdefault(size, ImageFont.load_default(size * _SCALE))
        mark = {"start": "l", "middle": "m", "end": "r"}[anchor] + "m"
        self._draw.text(_scaled(position), text, color, font, mark, stroke_width=0.25 * _SCALE if bold else 0)

    def finish(self) -> bytes:
        """Return the content of the file."""
        data = io.BytesIO()
        self._image.save(data, "PNG", pnginfo=self._about, optimize=True)
        return data.getvalue()


def require_png() -> None:
    """Raise UsageError if Pillow, which draws PNG files, is not installed."""
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise UsageError("PNG needs Pillow", hint="pip install 'llamacli[plot]', or write an .svg") from None


def _scaled(position: Position) -> Position:
    return position[0] * _SCALE, position[1] * _SCALE


def _points(positions: Sequence[Position]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in positions)


def _text(text: str) -> str:
    """Return the text escaped for XML, without unprintable characters."""
    return escape("".join(char for char in text if char.isprintable()))
