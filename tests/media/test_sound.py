"""Sounds of each format become one channel of samples at the rate that a model wants."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from mutants import alter_bytes

from llamacli.errors import MediaError
from llamacli.media.kind import kind_of
from llamacli.media.sound import decode_sound

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")

RATE = 16_000
TONE = 440


def encoded(name: str, *, rate: int = RATE, channels: int = 1, seconds: float = 0.5, subtype: str | None = None) -> bytes:
    """A tone on the first channel and silence on the others."""
    samples = np.zeros((int(rate * seconds), channels), np.float32)
    samples[:, 0] = 0.5 * np.sin(2 * np.pi * TONE * np.arange(len(samples)) / rate)
    data = io.BytesIO()
    soundfile.write(data, samples, rate, subtype, format=name)
    return data.getvalue()


def frequency(samples: np.ndarray, rate: int) -> float:
    """The frequency with the most energy, in Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("WAV", None), ("WAV", "PCM_U8"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAVEX", "PCM_24"), ("RF64", None), ("FLAC", None),
     ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)],
)  # fmt: skip
@pytest.mark.parametrize(("rate", "channels"), [(RATE, 1), (48_000, 2)])
def test_each_format_is_read(name, subtype, rate, channels):
    data = encoded(name, rate=rate, channels=channels, subtype=subtype)
    assert kind_of(data[:64]) == "audio"
    sound = decode_sound(data, RATE)
    samples = np.frombuffer(sound.samples, np.float32)
    assert sound.seconds == pytest.approx(0.5, abs=0.1)
    assert frequency(samples, RATE) == pytest.approx(TONE, abs=4)
    assert np.abs(samples[1000:-1000]).max() == pytest.approx(0.5 / channels, abs=0.03)


def test_a_sound_at_the_rate_is_not_changed():
    samples = np.frombuffer(decode_sound(encoded("WAV", subtype="FLOAT"), RATE).samples, np.float32)
    expected = (0.5 * np.sin(2 * np.pi * TONE * np.arange(RATE // 2) / RATE)).astype(np.float32)
    assert np.array_equal(samples, expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a.wav is not a sound that can be read (WAV, FLAC, MP3 and OGG are read)"),
        (b"GIF89a", "a.wav is a picture (WAV, FLAC, MP3 and OGG are read)"),
        (b"\0\0\0\x1cftypM4A " + bytes(20), "a.wav is an MPEG-4 or QuickTime file (WAV, FLAC, MP3 and OGG are read)"),
        (b"RIFF\0\0\0\0WAVE", "a.wav is a damaged WAV file: "),
        (b"fLaC" + bytes(60), "a.wav is a damaged FLAC file: "),
        (encoded("WAV", seconds=0), "a.wav has no samples"),
        (encoded("WAV", channels=65, seconds=0.01), "a.wav has 65 channels of 16000 Hz, which cannot be converted"),
        (encoded("FLAC", rate=1000, seconds=3601), "a.wav is longer than 60 minutes (cut it)"),
    ],
)  # fmt: skip
def test_what_is_no_sound_is_one_line(data, message):
    with pytest.raises(MediaError) as caught:
        decode_sound(data, RATE, "a.wav")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_altered_sounds_end_in_one_line(pytestconfig):
    sound = [encoded(name, seconds=0.05) for name in ("WAV", "FLAC", "OGG", "MP3")]
    messages = {}
    for case in range(pytestconfig.getoption("--fuzz-cases") // 50):
        chance = random.Random(case)
        data = alter_bytes(chance.choice(sound), chance)
        try:
            decoded = decode_sound(data, RATE, "x")
        except MediaError as error:
            messages[case] = str(error)
        else:
            assert np.isfinite(np.frombuffer(decoded.samples, np.float32)).all(), f"seed {case}"
    assert len(messages) > 10
    assert [case for case, message in messages.items() if not message.isprintable()] == []
