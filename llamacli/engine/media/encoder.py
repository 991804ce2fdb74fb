"""The encoder of pictures and sounds: libmtmd with a projector, and what it has encoded.

libmtmd is asked twice for each picture: once with its size only, for the tokens and placeholders of the prompt, and once with
its pixels when the first of its chunks is to be evaluated.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamacli.binding import log
from llamacli.binding.kernels import KERNELS
from llamacli.binding.library import library
from llamacli.binding.media import MediaChunks, encode_chunk, open_projector, sections_of
from llamacli.engine.media.media import NOUN, Media, MediaKind
from llamacli.engine.media.placeholders import chunk_placeholders
from llamacli.engine.runtime.gate import Gate
from llamacli.engine.runtime.loading import because, interruptible
from llamacli.engine.runtime.state import model_digest
from llamacli.errors import DecodeError, EngineError, ModelUnsupportedError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.runtime.model import Model

CAPACITY = 256 << 20
"""Bytes of embeddings that are kept for prompts whose cache is gone."""

SOURCES_CAPACITY = 1 << 30
"""Bytes of pictures and sounds that are kept for other processes, which refer to them."""

_MOST_KNOWN = 1024
"""Pictures whose tokens are remembered."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Embeddings that are evaluated as a whole: number `index` of those of a picture or sound.

    `sections` are the positions of its embeddings from the first on, in each section of M-RoPE, and `grows` which of these move
    with the position of the chunk. Without M-RoPE the one section is empty.
    """

    media: Media
    index: int
    placeholders: tuple[int, ...]
    is_causal: bool
    sections: tuple[tuple[int, ...], ...] = ()
    grows: tuple[int, ...] = ()

    def positions(self, first: int, start: int, end: int) -> list[list[int]]:
        """Return the positions of embeddings [start, end) of a chunk whose first has the position `first`, by section."""
        if not self.sections:
            return [list(range(first + start, first + end))]
        pairs = zip(self.sections, self.grows, strict=True)
        return [[first * grows + place for place in section[start:end]] for section, grows in pairs]


Expansion = tuple[tuple[int, ...] | Chunk, ...]
"""What a picture or sound becomes in a prompt: tokens that enclose it, and chunks."""


class MediaEncoder:
    """A projector, loaded for a model. `close()` frees it, and is idempotent. Its model is closed after it.

    Raises (when built):
        ModelUnsupportedError: if libmtmd does not accept it.
        CancelledError: if the model's flag was set.
    """

    def __init__(self, model: Model, path: Path, *, threads: int) -> None:
        self._cancel = model.cancel
        self._encoding = threading.Lock()  # held while libmtmd computes; it counts tokens meanwhile
        self._keeping = threading.Lock()
        self._gate = Gate("the projector")
        self._known: OrderedDict[str, Expansion] = OrderedDict()
        self._embeddings: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._size = 0
        self.encode_ns = 0
        """Nanoseconds spent so far between pixels or samples and embeddings."""
        self._sources: OrderedDict[str, bytes] = OrderedDict()
        self._open: tuple[str, MediaChunks, list[Any]] | None = None
        params = model.params
        name = str(path).encode("utf-8", "surrogateescape")
        self._kernels = KERNELS[params.kernels]
        self._identity = f"{model_digest(path)} {params.image_max_tokens} {params.kernels}"

        gpu = params.gpu_layers != 0 and params.devices != ("none",)
        most = params.image_max_tokens

        def load() -> Any:
            return open_projector(name, model.handle, gpu=gpu, threads=threads, most_tokens=most, cancel=self._cancel)

        with log.complaints() as complaints:
            self._handle = interruptible(load, self._cancel, patience=None)  # it reads the model
        if not self._handle:
            self._cancel.check()
            raise ModelUnsupportedError(
                f"the projector {path.name} cannot be used with this model{because(complaints)}", parameter="mmproj"
            )
        self._library = lib = library()
        self.uses_sections = bool(lib.mtmd_decode_use_mrope(self._handle))
        """True if an embedding has a position in each section of M-RoPE."""
        kinds: tuple[tuple[MediaKind, bool], ...] = (
            ("image", lib.mtmd_support_vision(self._handle)),
            ("audio", lib.mtmd_support_audio(self._handle)),
        )
        self.kinds = tuple(kind for kind, supported in kinds if supported)
        """What it encodes."""
        self.sound_rate = int(lib.mtmd_get_audio_sample_rate(self._handle)) if "audio" in self.kinds else None
        """Samples a second that it wants of a sound."""
        self.width = int(lib.llama_model_n_embd_inp(model.handle))
        """Values of an embedding."""

    def expand(self, media: Media) -> Expansion:
        """Return what a picture or sound becomes in a prompt.

        Raises:
            UsageError: if the projector cannot take it, because of its size or the rate of its samples.
        """
        with self._keeping:
            if media.id in self._known:
                self._known.move_to_end(media.id)
                return self._known[media.id]
        found = self._expanded(media)
        with self._keeping:
            self._known[media.id] = found
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return found

    def tokens(self, media: Media) -> list[int]:
        """Return the tokens and placeholders that stand for a picture or sound in a prompt. Raises as `expand`."""
        return [token for part in self.expand(media) for token in (part if isinstance(part, tuple) else part.placeholders)]

    def _expanded(self, media: Media) -> Expansion:
        if media.kind == "audio" and media.rate != self.sound_rate:
            raise UsageError(f"this model takes sound of {self.sound_rate} samples a second, not {media.rate}")
        with self._gate, log.complaints() as complaints:
            chunks = MediaChunks(self._handle, _size(media), None)
            try:
                parts = () if chunks.failed else tuple(self._part(media, number, one) for number, one in enumerate(chunks))
            finally:
                chunks.close()
        if not any(isinstance(part, Chunk) for part in parts):
            what = f"{media.width} x {media.height} pixels" if media.kind == "image" else f"{media.seconds:.3g} seconds"
            raise UsageError(f"this model cannot take a {NOUN[media.kind]} of {what}{because(complaints)}")
        return parts

    def _part(self, media: Media, index: int, one: Any) -> tuple[int, ...] | Chunk:
        if one.handle is None:
            return one.tokens  # type: ignore[no-any-return]
        sections: list[list[int]] = []
        grows: list[int] = []
        if self.uses_sections:
            sections, grows = sections_of(one.handle, one.count)
        identity = f"{self._identity} {media.id} {index}"
        placeholders = chunk_placeholders(identity, one.count, one.positions)
        return Chunk(media, index, placeholders, one.is_causal, tuple(map(tuple, sections)), tuple(grows))

    def needs_data(self, identity: str) -> bool:
        """Return whether the data of a picture or sound is needed here, so that it can be encoded."""
        with self._keeping:
            if identity in self._sources:
                self._sources.move_to_end(identity)
                return False
            chunks = [part for part in self._known.get(identity, ()) if isinstance(part, Chunk)]
            return not chunks or any((identity, chunk.index) not in self._embeddings for chunk in chunks)

    def keep_data(self, media: Media, data: bytes) -> None:
        """Keep the data of a picture or sound that prompts refer to."""
        with self._keeping:
            self._sources[media.id] = data
            while sum(map(len, self._sources.values())) > SOURCES_CAPACITY and len(self._sources) > 1:
                self._sources.popitem(last=False)

    def embeddings(self, chunk: Chunk) -> bytes:
        """Return the embeddings of a chunk, 32-bit floats in rows of `width`: encoded now, or kept from before.

        Raises:
            EngineError: if the picture's data is not here any more.
            DecodeError: if libmtmd failed.
            CancelledError: if the model's flag was set meanwhile.
        """
        key = (chunk.media.id, chunk.index)
        with self._encoding, self._gate:
            with self._keeping:
                if key in self._embeddings:
                    self._embeddings.move_to_end(key)
                    return self._embeddings[key]
            started = time.perf_counter_ns()
            rows = self._encoded(chunk)
            self.encode_ns += time.perf_counter_ns() - started
            with self._keeping:
                self._embeddings[key] = rows
                self._size += len(rows)
                while self._size > CAPACITY and len(self._embeddings) > 1:
                    self._size -= len(self._embeddings.popitem(last=False)[1])
            return rows

    def _encoded(self, chunk: Chunk) -> bytes:
        with self._keeping:
            data = chunk.media.data or self._sources.get(chunk.media.id)
        if not data:
            raise EngineError("the data of a picture or sound is not here any more", hint="ask again")
        if self._open is None or self._open[0] != chunk.media.id:
            self._close_chunks()
            chunks = MediaChunks(self._handle, _size(chunk.media), data)
            self._open = (chunk.media.id, chunks, [] if chunks.failed else list(chunks))
        opened = self._open[2]
        count = len(chunk.placeholders)
        if chunk.index >= len(opened) or opened[chunk.index].count != count:
            raise DecodeError("libmtmd could not prepare a picture or sound")
        self._library.llamacli_choose_kernels(self._kernels)  # for this thread
        with log.complaints() as complaints:
            rows = encode_chunk(self._handle, opened[chunk.index].handle, count * self.width)
        self._cancel.check()
        if rows is None:
            raise DecodeError(f"libmtmd could not encode a picture or sound{because(complaints)}")
        if chunk.index == max(number for number, one in enumerate(opened) if one.handle is not None):
            self._close_chunks()
        return rows

    def _close_chunks(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened[1].close()

    def close(self) -> None:
        """Free the projector as soon as no thread encodes."""
        self._gate.close(self._free)

    def _free(self) -> None:
        handle, self._handle = self._handle, None
        self._close_chunks()
        if handle is not None:
            self._library.mtmd_free(handle)


def _size(media: Media) -> tuple[int, ...]:
    """The size of a picture in pixels, or of a sound in samples."""
    return (media.width, media.height) if media.kind == "image" else (media.samples,)
