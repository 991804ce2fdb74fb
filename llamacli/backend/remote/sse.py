"""Server-sent events, as the HTML standard defines them: the data of each, from bytes that arrive in any portions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llamacli.errors import RemoteError

MOST_BYTES = 16 << 20
"""The longest event."""

_BOM = b"\xef\xbb\xbf"


def read_events(portions: Iterable[bytes]) -> Iterator[str]:
    """Yield the data of each event; comments and events without data are left out. The last one needs no empty line.

    Raises:
        RemoteError: if an event is longer than MOST_BYTES, or is not UTF-8.
    """
    data: list[bytes] = []
    size = 0
    for line in _lines(portions):
        size += len(line)
        if size > MOST_BYTES:
            raise RemoteError(f"the server sent an event of more than {MOST_BYTES >> 20} MiB")
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
            continue
        if data:
            yield _text(data)
        data, size = [], 0
    if data:
        yield _text(data)


def _text(data: list[bytes]) -> str:
    try:
        return b"\n".join(data).decode()
    except UnicodeDecodeError:
        raise RemoteError("the server sent an event that is not UTF-8") from None


def _lines(portions: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a stream, which end with a line feed, a carriage return, or both."""
    held, is_first = b"", True
    for portion in portions:
        held += portion
        if len(held) > MOST_BYTES:
            raise RemoteError(f"the server sent a line of more than {MOST_BYTES >> 20} MiB")
        if is_first and len(held) >= len(_BOM):
            held, is_first = held.removeprefix(_BOM), False
        if b"\r" in held:
            ending = b"\r" if held.endswith(b"\r") else b""  # a line feed may follow
            held = held[: len(held) - len(ending)].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + ending
        *lines, held = held.split(b"\n")
        yield from lines
    if held:
        yield held.rstrip(b"\r")
