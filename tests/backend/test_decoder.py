"""The child that decodes pictures and sounds: the same pixels as here, its limits, and files that end it."""

from __future__ import annotations

import io
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from picture_mutants import bombs, mutant
from pictures import picture, wav
from PIL import Image
from serving import wait_for

from llamacli.backend.child import decoder as decoder_module
from llamacli.backend.child.decoder import MediaDecoder, decoding_in_child
from llamacli.engine.media.read import read_media
from llamacli.errors import ClosedError, LlamacliError, MediaError
from llamacli.media.decoder import current_decoder
from llamacli.media.kind import HEAD_BYTES, kind_of
from llamacli.media.picture import Picture, decode_picture
from llamacli.media.sound import decode_sound


@pytest.fixture(scope="module")
def slow() -> bytes:
    """A small file of 81 megapixels, which take some hundred milliseconds and megabytes."""
    data = io.BytesIO()
    Image.new("L", (9000, 9000)).save(data, "PNG", compress_level=1)
    return data.getvalue()


@pytest.fixture(scope="module")
def decoder() -> Iterator[MediaDecoder]:
    with MediaDecoder() as made:
        yield made


def pid_of(decoder: MediaDecoder) -> int | None:
    child = decoder._child._child
    return child.pid if child is not None and child.is_alive else None


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_pictures_are_those_of_this_process(decoder: MediaDecoder, name: str) -> None:
    data = io.BytesIO()
    Image.effect_noise((150, 60), 80).convert("RGB").save(data, name)
    assert decoder.picture(data.getvalue(), "x") == decode_picture(data.getvalue())


def test_sounds_are_those_of_this_process(decoder: MediaDecoder) -> None:
    pytest.importorskip("soundfile")
    assert decoder.sound(wav(0.3, rate=8000), 16_000, "x.wav") == decode_sound(wav(0.3, rate=8000), 16_000)


def test_refused_files_leave_the_child_alive(decoder: MediaDecoder) -> None:
    decoder.picture(picture(), "x.png")
    before = pid_of(decoder)
    for data, words in ((b"GIF89a", r"a\.gif is a damaged GIF file"), (b"Hello", r"a\.gif is not a picture")):
        with pytest.raises(MediaError, match=words):
            decoder.picture(data, "a.gif")
    assert pid_of(decoder) == before


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"seconds": 0.05}, "x.png: reading it takes too much time"),
        ({"memory": 1 << 20}, "x.png: reading it takes too much memory"),
    ],
)
def test_a_picture_that_takes_too_much_is_refused_and_the_next_gets_a_new_child(
    slow: bytes, limits: dict[str, float], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_module, "_BYTES_PER_SECOND", 1 << 40)
    with MediaDecoder(**limits) as decoder:  # type: ignore[arg-type]
        with pytest.raises(MediaError, match=says):
            decoder.picture(slow, "x.png")
        assert pid_of(decoder) is None
        assert decoder.picture(picture("green"), "y.png") == Picture(8, 4, b"\0\x80\0" * 32)


def test_a_decoder_that_dies_by_a_signal_is_an_error_of_its_picture_alone(slow: bytes) -> None:
    found: list[BaseException | Picture] = []

    def decode(data: bytes, name: str) -> None:
        try:
            found.append(decoder.picture(data, name))
        except MediaError as error:
            found.append(error)

    with MediaDecoder() as decoder:
        decoder.picture(picture(), "x.png")
        child = pid_of(decoder)
        assert child is not None
        first = threading.Thread(target=decode, args=(slow, "bad.png"))
        first.start()
        wait_for(decoder._child._working.locked)
        second = threading.Thread(target=decode, args=(picture("green"), "good.png"))
        second.start()
        os.kill(child, signal.SIGSEGV)
        for thread in (first, second):
            thread.join()
        assert pid_of(decoder) not in (None, child)
    error, good = found
    assert str(error) == "bad.png cannot be read: it ended the process that read it (is it damaged?)"
    assert good == Picture(8, 4, b"\0\x80\0" * 32)


def test_ending_does_not_wait_for_a_picture(slow: bytes) -> None:
    decoder = MediaDecoder()

    def decode() -> None:
        with pytest.raises(LlamacliError):
            decoder.picture(slow, "x.png")

    decoder.picture(picture(), "x.png")
    thread = threading.Thread(target=decode)
    thread.start()
    wait_for(decoder._child._working.locked)
    started = time.monotonic()
    decoder.close()
    thread.join()
    assert time.monotonic() - started < 5
    with pytest.raises(ClosedError):
        decoder.picture(picture(), "x.png")
    assert pid_of(decoder) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no sandbox elsewhere")
def test_the_child_is_confined_and_knows_nothing_of_the_user(decoder: MediaDecoder) -> None:
    decoder.picture(picture(), "x.png")
    status = Path(f"/proc/{pid_of(decoder)}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status


def test_what_is_read_in_the_block_is_decoded_in_a_child() -> None:
    outside = current_decoder()
    with decoding_in_child():
        decoder = current_decoder()
        assert isinstance(decoder, MediaDecoder)
        assert pid_of(decoder) is None, "it starts with the first picture"
        assert (read_media(picture(), "x.png").width, pid_of(decoder) is not None) == (8, True)
    assert current_decoder() is outside
    assert pid_of(decoder) is None


def decoded(decoder: MediaDecoder, data: bytes) -> str:
    """How a file ended: as "picture" or "sound", or with the message of its refusal."""
    kind = kind_of(data[:HEAD_BYTES])
    try:
        if kind == "audio":
            assert len(decoder.sound(data, 16_000, "x").samples) % 4 == 0
            return "sound"
        found = decoder.picture(data, "x")
    except MediaError as error:
        return str(error)
    assert len(found.pixels) == 3 * found.width * found.height > 0
    return "picture"


@pytest.mark.parametrize("name", list(bombs()))
def test_files_that_ask_for_much_are_refused_or_harmless(decoder: MediaDecoder, name: str) -> None:
    said = decoded(decoder, bombs()[name])
    harmless = {"many frames": "picture", "unpacked text": "picture", "sound without end": "sound"}
    assert said == harmless[name] if name in harmless else said.startswith("x ")


def test_no_hostile_file_is_more_than_one_line(decoder: MediaDecoder, pytestconfig: pytest.Config) -> None:
    """Mutants of every format. `--fuzz-cases 1000000` tries 100,000; the time includes those that end the child."""
    said = {}
    for number in range(pytestconfig.getoption("--fuzz-cases") // 10):
        said[number] = decoded(decoder, mutant(random.Random(f"picture {number}")))
    assert {number: text for number, text in said.items() if not text.isprintable() or len(text) > 200} == {}
    ends = [text for text in said.values() if text not in ("picture", "sound")]
    assert 0.3 * len(said) < len(ends) < 0.9 * len(said)
    assert [text for text in ends if "it ended the process" in text] == []
