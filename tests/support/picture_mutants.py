"""Mutants of pictures and sounds of every format that is read: cut, bits flipped, with false sizes; and bombs."""

from __future__ import annotations

import functools
import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator

from mutants import alter_bytes
from pictures import wav
from PIL import Image, PngImagePlugin

_SIZES = (0, 1, 2, 255, 4096, 30_000, 65_535, (1 << 31) - 1, (1 << 32) - 1)


def mutant(chance: random.Random) -> bytes:
    """A file that was sound."""
    name, data = chance.choice(sound_files())
    if chance.random() < 0.2 and name in _LIARS:
        return _LIARS[name](data, chance)
    match chance.randrange(6):
        case 0:
            return data[: chance.randrange(len(data) + 1)]
        case 1:
            changed = bytearray(data)
            for _ in range(chance.choice((1, 8, 64))):
                changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            return bytes(changed)
        case 2:
            other = chance.choice(sound_files())[1]
            return data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]
    return alter_bytes(data, chance)


@functools.cache
def sound_files() -> tuple[tuple[str, bytes], ...]:
    """Files of all formats and many of their kinds, each with the name of its format."""
    return tuple(_pictures()) + tuple(_sounds())


def bombs() -> dict[str, bytes]:
    """Small files that ask for much."""
    rows = zlib.compress(bytes(30_001 * 30_000 // 64), 9)  # of more rows than there are
    text = PngImagePlugin.PngInfo()
    text.add_text("x", "a" * 1_000_000, zip=True)
    return {
        "900 megapixels": _png(30_000, 30_000, rows),
        "no end of width": _png((1 << 31) - 1, 1, rows),
        "a strip": _png(90_000, 2, rows),
        "no pixels": _png(0, 0, rows),
        "unpacked text": _encoded(Image.new("L", (8, 8)), "PNG", pnginfo=text),
        "many frames": _encoded(Image.new("L", (8, 8)), "GIF", save_all=True, append_images=[Image.new("L", (8, 8), 9)] * 500),
        "sound without end": wav()[:40] + b"\xff\xff\xff\x7f" + bytes(100),
    }


def _pictures() -> Iterator[tuple[str, bytes]]:
    noise = Image.effect_noise((33, 21), 90)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = noise.convert("I").convert("I;16") if mode == "I;16" else noise.convert(mode)
        yield "PNG", _encoded(image, "PNG")
        if mode not in ("LA", "RGBA", "I;16"):
            yield "BMP", _encoded(image, "BMP")
        yield "TIFF", _encoded(image, "TIFF")
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in ("L", "RGB", "CMYK"):
        yield "JPEG", _encoded(noise.convert(mode), "JPEG", exif=exif, progressive=mode == "L")
    for lossless in (False, True):
        yield "WEBP", _encoded(noise.convert("RGBA"), "WEBP", lossless=lossless)
    yield "GIF", _encoded(noise, "GIF", save_all=True, append_images=[noise.rotate(90)], transparency=3)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4"):
        yield "TIFF", _encoded(noise.convert("1" if compression == "group4" else "RGB"), "TIFF", compression=compression)
    yield "TIFF", _encoded(noise.convert("F"), "TIFF")


def _sounds() -> Iterator[tuple[str, bytes]]:
    yield "WAV", wav(0.1)
    try:
        import numpy as np
        import soundfile
    except (ImportError, OSError):
        return
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, (4000, 2))
    for name, kind in (
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("MP3", "MPEG_LAYER_III"),
        ("WAV", "FLOAT"),
        ("WAV", "IMA_ADPCM"),
    ):
        data = io.BytesIO()
        soundfile.write(data, samples, 16_000, kind, format=name)
        yield name, data.getvalue()


def _encoded(image: Image.Image, name: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, name, **options)
    return data.getvalue()


def _png(width: int, height: int, packed: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _lying_png(data: bytes, chance: random.Random) -> bytes:
    """A PNG file with another size in its header, and a checksum that is right again."""
    width, height = (chance.choice(_SIZES) if chance.random() < 0.7 else size for size in struct.unpack_from(">II", data, 16))
    head = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def _lying_at(places: tuple[int, ...], form: str) -> Callable[[bytes, random.Random], bytes]:
    """Return what sets the numbers at some places of a file."""

    def lie(data: bytes, chance: random.Random) -> bytes:
        changed, most = bytearray(data), (1 << 8 * struct.calcsize(form)) - 1
        for place in places:
            if chance.random() < 0.7:
                struct.pack_into(form, changed, place, min(chance.choice(_SIZES), most))
        return bytes(changed)

    return lie


_LIARS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "PNG": _lying_png,
    "BMP": _lying_at((10, 14, 18, 22, 30, 34, 46), "<I"),
    "GIF": _lying_at((6, 8), "<H"),
    "WAV": _lying_at((16, 24, 28, 40), "<I"),
    "WEBP": _lying_at((4, 12, 16, 20, 24), "<I"),
}
"""What gives files of a format sizes that are not theirs."""
