"""A child that reads files which are not trusted: it has limits, and a file that ends it is refused."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from llamacli.backend.child.params import ChildParams
from llamacli.errors import CapacityError, ClosedError, EngineDiedError, LlamacliError, MemoryFullError

if TYPE_CHECKING:
    from llamacli.backend.child.process.child import Child
    from llamacli.backend.child.wire.method import Method

_HINT = "is it damaged, or made to do so?"


class FileChild:
    """A child that offers a service for files, and starts with the first one. `close()` ends it for good.

    It reads one file at a time, whatever thread asks: one that a file ends is replaced for the next file, and no other file is
    in it. `refusal` is the error about a file that ends it with a signal.
    """

    def __init__(self, service: str, params: ChildParams | None, *, refusal: type[LlamacliError]) -> None:
        self._service, self._refusal = service, refusal
        self._params = dataclasses.replace(params or ChildParams(), keep_alive=None, rpc=())  # it needs neither model nor nodes
        self._child: Child | None = None
        self._working = threading.Lock()
        self._is_closed = False

    @property
    def is_alive(self) -> bool:
        """True from the first file until a file ends it, or `close`."""
        return self._child is not None and self._child.is_alive

    def call(self, method: Method, arguments: object, name: str, *, descriptors: Sequence[int] = ()) -> Any:
        """Return the result of a method for a file. `name` is the name of the file in messages.

        Raises:
            CapacityError: if it takes too much time or memory.
            ClosedError: if this was closed.
            LlamacliError: what the method raises, or the refusal of a file that ends the child.
            EngineError: if the system refuses another process.
        """
        with self._working:
            child = self._started()
            try:
                return child.call(method, arguments, descriptors=descriptors)
            except (MemoryError, MemoryFullError) as error:
                raise CapacityError(f"{name} takes too much memory to read") from error
            except CapacityError as error:
                if child.is_alive:  # the file's own fault, and not the end of the child
                    raise
                raise CapacityError(f"{name}: {error.message}", hint=_HINT) from error
            except EngineDiedError as error:
                message = f"{name} cannot be read: it ended the process that read it"
                raise self._refusal(message, hint="is it damaged?") from error

    def _started(self) -> Child:
        self._require_open()
        child = self._child
        if child is None or not child.is_alive:
            from llamacli.backend.child.process.start import start_child

            self._end_child()
            child = self._child = start_child(self._service, [], self._params)
            self._require_open()  # another thread may have closed it meanwhile
        return child

    def _require_open(self) -> None:
        if self._is_closed:
            self._end_child()
            raise ClosedError("the process that reads files was closed")

    def close(self) -> None:
        """End the child. Calls that wait raise ClosedError."""
        self._is_closed = True
        self._end_child()

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()


class FileReader:
    """What reads files through a child, and owns it. A context manager; `close()` may be called twice."""

    _child: FileChild

    def close(self) -> None:
        """End the child. No more files are read."""
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
