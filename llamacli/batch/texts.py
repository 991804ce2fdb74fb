"""Texts to embed: items of text with an id, read from rows, and a source of items that can be skipped and taken back."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, Self

from llamacli.batch.formats import RowFormat
from llamacli.batch.reader import read_rows
from llamacli.errors import UsageError
from llamacli.openai.batch_row import Row

if TYPE_CHECKING:
    from llamacli.engine.embedding.window import Text


@dataclass(frozen=True, slots=True)
class Item:
    """A text, or the reason why it is missing, its id, and its bytes in the input."""

    text: Text
    id: str | int | None = None
    size: int = field(default=0, compare=False)

    @property
    def shown_text(self) -> str:
        """The text, empty if it is missing."""
        return self.text if isinstance(self.text, str) else ""

    @property
    def shown(self) -> str:
        """The id, or without one the text: a label for the user."""
        return str(self.id) if self.id is not None else self.shown_text


class TextSource:
    """Items that are read once. `total` is their number, or with `in_bytes` their bytes, None if unknown.

    A context manager that closes what the items are read from.
    """

    def __init__(
        self, items: Iterable[Item], total: int | None, files: ExitStack | None = None, *, in_bytes: bool = False
    ) -> None:
        self._items = iter(items)
        self._files = files
        self.total = total
        self.in_bytes = in_bytes
        self._pending: dict[int, Item] = {}
        self._amounts: deque[int] = deque()  # of the items that are read and not finished
        self._finished = 0
        self.skipped = self.done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._files is not None:
            self._files.close()

    def skip(self, count: int) -> int:
        """Skip the first `count` items, and return how many of them there were."""
        found = 0
        for _, item in zip(range(count), self._items, strict=False):
            found += 1
            self.skipped += self._amount(item)
        self.done = self.skipped
        return found

    def items(self) -> Iterator[Item]:
        """Return the remaining items."""
        return self._items

    def texts(self) -> Iterator[Text]:
        """Yield the texts of the remaining items, and keep each item for `take`."""
        for number, item in enumerate(self._items):
            self._pending[number] = item
            self._amounts.append(self._amount(item))
            yield item.text

    def take(self, number: int) -> Item:
        """Return the item of text `number`, and forget it."""
        return self._pending.pop(number)

    def finish(self, count: int) -> None:
        """Set `done` to the amount, of `total`, of the skipped items and the first `count` others."""
        while self._finished < count:
            self._finished += 1
            self.done += self._amounts.popleft()

    def _amount(self, item: Item) -> int:
        return item.size if self.in_bytes else 1


def read_items(stream: BinaryIO | io.BufferedIOBase, row_format: RowFormat, *, name: str, field: str) -> Iterator[Item]:
    """Yield an item for each row of a stream: its text is in the field `field`, its id in `id`.

    Raises:
        UsageError: as `read_rows` raises it.
    """
    end = 0
    rows = read_rows(
        stream, row_format, name=name, text_field=field, columns=(field, "id"), required=(field,), keep_blank_lines=True
    )
    for row in rows:
        yield replace(_item(row, field), size=row.end - end)
        end = row.end


def _item(row: Row, field: str) -> Item:
    name = row.fields.get("id")
    if not isinstance(name, (str, int)) or isinstance(name, bool):
        name = None
    for checked in ("id", field):
        if half := _half_character(row.fields.get(checked)):
            error = UsageError(f"line {row.line}: the field {checked} has half of a surrogate pair, {half}")
            return Item(error, None if checked == "id" else name)
    text = row.fields.get(field)
    if row.problem is not None:
        return Item(UsageError(row.problem), name)
    if field not in row.fields:
        return Item(UsageError(f"line {row.line} has no field {field}", hint="name another field"), name)
    return Item(text if isinstance(text, str) else UsageError(f"line {row.line}: the field {field} is not a string"), name)


def _half_character(value: object) -> str | None:
    r"""Return the half of a surrogate pair in a string, which JSON can write (`\ud800`) but UTF-8 cannot, and its offset."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return f"\\u{ord(value[error.start]):04x} at offset {error.start}"
    return None
