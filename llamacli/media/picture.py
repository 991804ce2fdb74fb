"""Pictures: PNG, JPEG, WebP, GIF, BMP and TIFF as pixels, by Pillow."""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamacli.errors import MediaError, UsageError
from llamacli.media.kind import damaged, require_kind

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 100_000_000
MAX_RATIO = 200
"""Longest side over shortest: models cut pictures into tiles, and were not trained with strips."""

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_ORIENTATION = 0x0112
_TRANSPARENT = ("RGBA", "RGBa", "LA", "La", "PA")
_WHITE = (255, 255, 255, 255)

_reading = threading.Lock()


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as pixels: rows from the top, three bytes (red, green, blue) for each pixel."""

    width: int
    height: int
    pixels: bytes


def require_pillow() -> None:
    """Raise UsageError if Pillow, which decodes pictures, is not installed."""
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise UsageError("reading pictures needs Pillow", hint="pip install 'llamacli[images]'") from None


def preload_pillow() -> None:
    """Import Pillow, if it is installed, so that the first picture need not wait for it."""
    with contextlib.suppress(ImportError):
        from PIL import Image

        Image.preinit()


def decode_picture(data: bytes, name: str = "the picture") -> Picture:
    """Return a picture upright, its transparent parts on white, of animations and of several pages the first.

    `name` begins the error messages. Nothing but the pixels is kept of the file.

    Raises:
        MediaError: if it is not a picture of a format that is read, is damaged, or has more than MAX_PIXELS.
        UsageError: if Pillow is not installed.
    """
    require_kind(data, "image", name)
    require_pillow()
    with _reading, warnings.catch_warnings():  # filters of warnings are the whole process's
        warnings.simplefilter("ignore")  # of oddities that do not concern the pixels, and of sizes below our own limit
        try:
            return _decode(data, name)
        except (MediaError, MemoryError):
            raise
        except Exception as error:  # a damaged file can make Pillow's readers raise anything
            raise damaged(data, name, str(error), error) from error


def _decode(data: bytes, name: str) -> Picture:
    from PIL import Image

    try:
        opened = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise MediaError(f"{name} has more than {MAX_PIXELS // 1_000_000} megapixels", hint="make it smaller") from error
    with opened as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise MediaError(
                f"{name} has {width} x {height} pixels, more than {MAX_PIXELS // 1_000_000} megapixels", hint="make it smaller"
            )
        if max(width, height) > MAX_RATIO * min(width, height):
            raise MediaError(
                f"{name} has {width} x {height} pixels: one side is more than {MAX_RATIO} times the other", hint="crop it"
            )
        image.load()
        upright = _upright(image)
        rgb = _as_rgb(upright)
        return Picture(rgb.width, rgb.height, rgb.tobytes())


def _upright(image: Image.Image) -> Image.Image:
    """Return the picture in the orientation that its EXIF data give; unchanged if they are damaged."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  # the pixels are sound, and EXIF data are often not
        return image
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        return _from_deep(image).convert("RGB")
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, _WHITE), seen).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """Return grey levels of 8 bits: of 16 bits the upper ones, of others those between the darkest and the brightest."""
    import numpy as np
    from PIL import Image

    levels = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((levels >> 8).astype(np.uint8))
    levels = np.nan_to_num(levels.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(levels.min()), float(levels.max())
    scaled = (levels - low) * (255 / (high - low)) if high > low else np.zeros_like(levels)
    return Image.fromarray(scaled.astype(np.uint8))
