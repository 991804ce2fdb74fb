"""Server-sent events, as the HTML standard defines them: the data of each, from bytes that arrive in any portions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llamacli.errors import RemoteError

MOST_BYTES = 16 << 20
"""The longest event."""

_BOM = b"\xef\xbb\xbf"


class EventReader:
    """Reader of events that come in portions."""

    def __init__(self) -> None:
        self._held, self._is_first = b"", True
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, portion: bytes, found: list[str]) -> None:
        """Add the data of the events that a portion completes to `found`. Comments and events without data are left out.

        Raises:
            RemoteError: if an event is longer than MOST_BYTES, or is not UTF-8; those before it are found.
        """
        held = self._held + portion
        if len(held) > MOST_BYTES:
            raise RemoteError(f"the server sent a line of more than {MOST_BYTES >> 20} MiB")
        if self._is_first and len(held) >= len(_BOM):
            held, self._is_first = held.removeprefix(_BOM), False
        if b"\r" in held:
            ending = b"\r" if held.endswith(b"\r") else b""  # a line feed may follow
            held = held[: len(held) - len(ending)].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + ending
        *lines, self._held = held.split(b"\n")
        for line in lines:
            self._take(line, found)

    def finish(self, found: list[str]) -> None:
        """Add the data of the last event, which needs no empty line. Raises as `feed`."""
        self._take(self._held.rstrip(b"\r"), found)
        self._take(b"", found)

    def _take(self, line: bytes, found: list[str]) -> None:
        self._size += len(line)
        if self._size > MOST_BYTES:
            raise RemoteError(f"the server sent an event of more than {MOST_BYTES >> 20} MiB")
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
            return
        data, self._data, self._size = self._data, [], 0
        if data:
            found.append(_text(data))


def read_event_groups(portions: Iterable[bytes]) -> Iterator[list[str]]:
    """Yield the data of the events that each portion completes. Raises as `EventReader.feed`."""
    reader = EventReader()
    for portion in portions:
        found: list[str] = []
        try:
            reader.feed(portion, found)
        except RemoteError:
            yield found
            raise
        if found:
            yield found
    last: list[str] = []
    reader.finish(last)
    yield last


def read_events(portions: Iterable[bytes]) -> Iterator[str]:
    """Yield the data of each event. Raises as `EventReader.feed`."""
    for events in read_event_groups(portions):
        yield from events


def _text(data: list[bytes]) -> str:
    try:
        return b"\n".join(data).decode()
    except UnicodeDecodeError:
        raise RemoteError("the server sent an event that is not UTF-8") from None
