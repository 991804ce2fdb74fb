"""Sounds: WAV, FLAC, MP3 and OGG as samples of one channel, by libsndfile and soxr."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamacli.errors import MediaError, UsageError
from llamacli.media.kind import READABLE, damaged, require_kind

if TYPE_CHECKING:
    import soundfile
    from numpy import float32
    from numpy.typing import NDArray

MAX_SECONDS = 3600
_RATES = range(1000, 768_001)
_MOST_CHANNELS = 64
_BLOCK = 1 << 20
"""Samples of all channels that are decoded at once."""

_CONTAINERS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3")


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound as 32-bit floating-point samples of one channel, `rate` of them a second."""

    rate: int
    samples: bytes

    @property
    def seconds(self) -> float:
        """The duration."""
        return len(self.samples) / 4 / self.rate


def require_soundfile() -> None:
    """Raise UsageError if the libraries that decode sounds are not installed."""
    try:
        import soundfile  # noqa: F401
        import soxr  # noqa: F401
    except (ImportError, OSError):  # OSError: soundfile without libsndfile
        raise UsageError("reading sounds needs soundfile and soxr", hint="pip install 'llamacli[audio]'") from None


def decode_sound(data: bytes, rate: int, name: str = "the sound") -> Sound:
    """Return a sound with the channels mixed, at a sample rate of `rate` Hz. `name` begins the error messages.

    Raises:
        MediaError: if it is not a sound of a format that is read, is damaged or empty, or lasts longer than MAX_SECONDS.
        UsageError: if the libraries are not installed.
    """
    require_kind(data, "audio", name)
    require_soundfile()
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as opened:
            return _decode(opened, rate, name)
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise damaged(data, name, str(getattr(error, "error_string", error)).rstrip(". \n"), error) from error


def _decode(opened: soundfile.SoundFile, rate: int, name: str) -> Sound:
    import numpy as np
    import soxr

    if opened.format not in _CONTAINERS:
        raise MediaError(f"{name} is a sound of the format {opened.format}", hint=f"{READABLE['audio']} are read")
    if opened.samplerate not in _RATES or not 0 < opened.channels <= _MOST_CHANNELS:
        raise MediaError(f"{name} has {opened.channels} channels of {opened.samplerate} Hz, which cannot be converted")
    resample = soxr.ResampleStream(opened.samplerate, rate, 1, dtype="float32") if opened.samplerate != rate else None
    found: list[NDArray[float32]] = []
    frames = 0
    while len(block := opened.read(_BLOCK // opened.channels, dtype="float32", always_2d=True)):
        frames += len(block)
        if frames > MAX_SECONDS * opened.samplerate:
            raise MediaError(f"{name} is longer than {MAX_SECONDS // 60} minutes", hint="cut it")
        mixed = np.nan_to_num(block.mean(axis=1), posinf=0.0, neginf=0.0)
        found.append(mixed if resample is None else resample.resample_chunk(mixed))
    if not frames:
        raise MediaError(f"{name} has no samples")
    if resample is not None:
        found.append(resample.resample_chunk(np.zeros(0, np.float32), last=True))
    return Sound(rate, np.concatenate(found).tobytes())
