"""Pictures of each format and mode become the pixels that a person sees; what is damaged or too large is one line."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
import pytest
from mutants import alter_bytes
from PIL import Image

from llamacli.errors import MediaError
from llamacli.media.kind import describe_unreadable, kind_of
from llamacli.media.picture import MAX_PIXELS, Picture, decode_picture

SIZE = (24, 16)
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def halves(mode: str = "RGB") -> Image.Image:
    """A picture whose left half is red and whose right half is blue."""
    image = Image.new("RGB", SIZE, RED)
    image.paste(BLUE, (SIZE[0] // 2, 0, *SIZE))
    return image.convert(mode)


def encoded(image: Image.Image, name: str, **options) -> bytes:
    data = io.BytesIO()
    image.save(data, name, **options)
    return data.getvalue()


def pixels(picture: Picture) -> np.ndarray:
    return np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, 3)


def corners(picture: Picture) -> list[tuple[int, ...]]:
    """The colours near the upper left, upper right, lower left and lower right corner, rounded to full and none."""
    values = pixels(picture)
    return [tuple(int(v > 127) * 255 for v in values[y, x]) for y in (1, -2) for x in (1, -2)]


@pytest.mark.parametrize(
    ("name", "options"),
    [("PNG", {}), ("JPEG", {"quality": 95}), ("WEBP", {"lossless": True}), ("GIF", {}), ("BMP", {}), ("TIFF", {}),
     ("TIFF", {"compression": "tiff_lzw"}), ("JPEG", {"progressive": True, "quality": 95})],
)  # fmt: skip
def test_each_format_is_read(name, options):
    data = encoded(halves(), name, **options)
    picture = decode_picture(data)
    assert kind_of(data[:64]) == "image"
    assert (picture.width, picture.height, len(picture.pixels)) == (*SIZE, 3 * SIZE[0] * SIZE[1])
    assert corners(picture) == [RED, BLUE, RED, BLUE]


@pytest.mark.parametrize("mode", ["RGB", "P", "CMYK", "YCbCr", "LAB", "RGBA"])
def test_each_mode_is_read(mode):
    name = "PNG" if mode in ("RGB", "P", "RGBA") else "TIFF"
    image = halves().quantize(4) if mode == "P" else _lab() if mode == "LAB" else halves(mode)
    assert corners(decode_picture(encoded(image, name))) == [RED, BLUE, RED, BLUE]


def _lab() -> Image.Image:
    from PIL import ImageCms

    return ImageCms.profileToProfile(halves(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")


def test_transparent_parts_are_white():
    image = halves("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(SIZE))
    clear = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    indexed = Image.new("P", SIZE, 0)
    indexed.putpalette([0, 0, 0, 255, 0, 0])
    files = [encoded(clear, "PNG"), encoded(clear, "WEBP", lossless=True), encoded(indexed, "GIF", transparency=0)]
    files += [encoded(Image.new("LA", SIZE, (0, 0)), "PNG"), encoded(Image.new("RGB", SIZE), "PNG", transparency=(0, 0, 0))]
    for one in files:
        assert set(map(tuple, pixels(decode_picture(one)).reshape(-1, 3))) == {WHITE}
    faded = pixels(decode_picture(encoded(image, "PNG")))
    assert faded[0, 0, 1] > 240
    assert faded[-1, 0, 1] < 20


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (np.array([[0, 0x8000, 0xFFFF]], np.uint16), [0, 128, 255]),
        (np.array([[-1.0, 0.0, 1.0]], np.float32), [0, 127, 255]),
        (np.array([[np.nan, 1.0, np.inf]], np.float32), [0, 255, 0]),
        (np.array([[7, 7, 7]], np.int32), [0, 0, 0]),
        (np.array([[0, 100_000, 200_000]], np.int32), [0, 127, 255]),
    ],
)
def test_deep_levels_become_eight_bits(levels, expected):
    data = encoded(Image.fromarray(levels), "TIFF")
    assert pixels(decode_picture(data))[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(1, [RED, BLUE, RED, BLUE]), (3, [BLUE, RED, BLUE, RED]), (6, [RED, RED, BLUE, BLUE]), (8, [BLUE, BLUE, RED, RED]),
     (2, [BLUE, RED, BLUE, RED]), (5, [RED, RED, BLUE, BLUE]), (7, [BLUE, BLUE, RED, RED]), (99, [RED, BLUE, RED, BLUE])],
)  # fmt: skip
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_the_orientation_is_applied(name, orientation, expected):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode_picture(encoded(halves(), name, exif=exif, quality=95))
    assert corners(picture) == expected
    assert (picture.width > picture.height) == (orientation < 5 or orientation == 99)


def test_damaged_exif_does_not_matter():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(halves(), "JPEG", exif=exif, quality=95)
    start = data.index(b"Exif")
    assert corners(decode_picture(data[: start + 8] + bytes(8) + data[start + 16 :])) == [RED, BLUE, RED, BLUE]


def test_the_first_frame_of_an_animation_counts():
    for name in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(halves(), name, save_all=True, append_images=[Image.new("RGB", SIZE, WHITE)] * 3)
        assert corners(decode_picture(data)) == [RED, BLUE, RED, BLUE], name


def png(width: int, height: int, rows: int) -> bytes:
    """A PNG file that announces a size, and has so many rows of zeros."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    data = zlib.compress(bytes((width + 7) // 8 + 1) * rows, 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a.png is not a picture that can be read (PNG, JPEG, WebP, GIF, BMP and TIFF are read)"),
        (b"Hello, world!", "a.png is not a picture that can be read (PNG, JPEG, WebP, GIF, BMP and TIFF are read)"),
        (b"RIFF\0\0\0\0WAVEfmt ", "a.png is a sound (PNG, JPEG, WebP, GIF, BMP and TIFF are read)"),
        (b"\0\0\0\x1cftypheic" + bytes(20), "a.png is an AVIF or HEIC picture (PNG, JPEG, WebP, GIF, BMP and TIFF are read)"),
        (b"\x89PNG\r\n\x1a\n", "a.png is a damaged PNG file: "),
        (encoded(halves(), "PNG")[:60], "a.png is a damaged PNG file: "),
        (encoded(halves(), "JPEG")[:-40], "a.png is a damaged JPEG file: image file is truncated"),
        (encoded(halves(), "WEBP")[:40], "a.png is a damaged WEBP file: "),
        (png(10_001, 10_000, 1), "a.png has 10001 x 10000 pixels, more than 100 megapixels (make it smaller)"),
        (png(200_000, 200_000, 1), "a.png has more than 100 megapixels (make it smaller)"),
        (png(2010, 10, 10), "a.png has 2010 x 10 pixels: one side is more than 200 times the other (crop it)"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_one_line(data, message):
    with pytest.raises(MediaError) as caught:
        decode_picture(data, "a.png")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_picture_just_below_the_limit_is_read_without_a_warning():
    side = int(MAX_PIXELS**0.5)
    picture = decode_picture(png(side, side, side))
    assert (picture.width, picture.height, picture.pixels[:3]) == (side, side, b"\0\0\0")


@pytest.mark.parametrize(
    ("head", "what"),
    [(b"\0\0\0\x20ftypavif", "an AVIF or HEIC picture"), (b"\0\0\0\x20ftypisom", "an MPEG-4 or QuickTime file"),
     (b"\x1a\x45\xdf\xa3", "a Matroska or WebM file"), (b"%PDF-1.7", None), (b"GIF89a", None)],
)  # fmt: skip
def test_other_formats_have_names(head, what):
    assert describe_unreadable(head) == what


def test_altered_pictures_end_in_one_line(pytestconfig):
    exif = Image.Exif()
    exif[0x0112] = 6
    sound = [encoded(halves(), name, exif=exif) for name in ("PNG", "JPEG", "WEBP", "TIFF")]
    sound += [encoded(halves().quantize(4), "GIF"), encoded(halves(), "BMP"), encoded(halves("CMYK"), "JPEG"),
              encoded(halves("RGBA"), "PNG"), encoded(halves(), "TIFF", compression="tiff_adobe_deflate")]  # fmt: skip
    messages = {}
    for case in range(pytestconfig.getoption("--fuzz-cases") // 25):
        chance = random.Random(case)
        data = alter_bytes(chance.choice(sound), chance)
        try:
            picture = decode_picture(data, "x")
        except MediaError as error:
            messages[case] = str(error)
        else:
            assert len(picture.pixels) == 3 * picture.width * picture.height, f"seed {case}"
    assert len(messages) > 20
    assert [case for case, message in messages.items() if not message.isprintable()] == []
