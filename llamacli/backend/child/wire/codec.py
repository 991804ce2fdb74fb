"""Values on the wire: MessagePack, checked against their types when they arrive. Never pickle: a child may be taken over."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from llamacli.backend.child.wire.faults import Fault, exception_of, fault_of
from llamacli.engine.media.media import MediaData
from llamacli.errors import CapacityError, EngineError, UsageError

MAX_BYTES = 1 << 28
"""Bytes of one value: a megabyte of prompt is a few megabytes of tokens."""

MAX_FRAME_BYTES = MAX_BYTES + (1 << 12)
"""Bytes of one frame: a value, and what says where it belongs."""


class ProtocolError(EngineError):
    """The other side sent what it must not send."""


def encode(value: object, *, most: int = MAX_BYTES) -> bytes:
    """Return a value as MessagePack. Exceptions travel as `Fault`.

    Raises:
        UsageError: if a text contains half of a surrogate pair, which no model can read.
        CapacityError: if it takes more than `most` bytes.
    """
    try:
        packed = _encoder().encode(value)
    except UnicodeEncodeError as error:
        raise UsageError("a text contains half of a surrogate pair, which is not a character") from error
    if len(packed) > most:
        raise CapacityError(f"a message of {len(packed)} bytes is longer than the {most} that the engine takes at once")
    return packed


def decode(data: bytes | bytearray | msgspec.Raw, kind: Any) -> Any:
    """Return the value of a type. Raises ProtocolError if the data has another one."""
    try:
        return _decoder(kind).decode(data)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"the engine and this process do not understand each other: {error}") from error


def prepare(kind: Any) -> None:
    """Make the decoder of a type, which takes some milliseconds, before its first value arrives."""
    if isinstance(kind, Variants):
        kind.prepare()
    elif kind is not None:
        _decoder(kind)


class Variants:
    """A union of dataclasses, which travel with the number of their class."""

    def __init__(self, *kinds: type) -> None:
        self._kinds = kinds
        self._numbers = {kind: number for number, kind in enumerate(kinds)}

    def prepare(self) -> None:
        """Make the decoders of the classes."""
        for kind in (tuple[int, msgspec.Raw], *self._kinds):
            _decoder(kind)

    def encode(self, value: object) -> bytes:
        """Return a value of one of the classes as MessagePack."""
        return encode((self._numbers[type(value)], value))

    def decode(self, data: bytes | msgspec.Raw) -> Any:
        """Return the value. Raises ProtocolError for anything else."""
        number, rest = decode(data, tuple[int, msgspec.Raw])
        if not 0 <= number < len(self._kinds):
            raise ProtocolError(f"the engine sent an unknown variant: {number}")
        return decode(rest, self._kinds[number])


@functools.cache
def _encoder() -> msgspec.msgpack.Encoder:
    return msgspec.msgpack.Encoder(enc_hook=_to_wire)


@functools.cache
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind, dec_hook=_from_wire)


def _to_wire(value: object) -> object:
    if isinstance(value, BaseException):
        return fault_of(value)
    if isinstance(value, MediaData):  # it is handed over once, by `media.send_media`
        return None
    raise NotImplementedError(f"{type(value).__name__} has no form on the wire")


def _from_wire(kind: type, value: object) -> object:
    if issubclass(kind, BaseException):
        return exception_of(msgspec.convert(value, Fault))
    if issubclass(kind, MediaData) and value is None:
        return MediaData()
    raise NotImplementedError(f"{kind.__name__} has no form on the wire")
