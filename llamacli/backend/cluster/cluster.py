"""A Dask cluster: groups of work in bounded windows, done again when their worker is lost."""

from __future__ import annotations

import importlib
import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from llamacli.errors import EngineDiedError, LlamacliError, RemoteError, UsageError

WINDOW = 3
"""Groups for each worker that are sent before the first of them has ended: one that it does, and two that wait."""

_LOOK_SECONDS = 0.2
_CONNECT_SECONDS = 20
_LOCAL = re.compile(r"local:(\d{1,4})")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Group(Generic[Item]):
    """Items that one worker does together. `place` counts groups from 0."""

    place: int
    items: Sequence[Item]


class Cluster:
    """A cluster at an address, or `local:N`: N processes of this machine, which end with it. `close()` may be called twice.

    Raises (when built):
        UsageError: if distributed is not installed.
        RemoteError: if there is no scheduler at the address, or it has no workers.
    """

    def __init__(self, address: str) -> None:
        try:
            distributed: Any = importlib.import_module("distributed")
        except ImportError:
            raise UsageError("a Dask cluster needs the package distributed", hint="pip install 'llamacli[dask]'") from None
        logging.getLogger("distributed").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)  # rows with pictures are
        self._distributed = distributed
        self._cancelled = threading.Event()
        self._own: Any = None
        self._client: Any = None
        local = _LOCAL.fullmatch(address)
        try:
            if local is not None:
                self._own = distributed.LocalCluster(
                    n_workers=int(local[1]),
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,  # errors come back, and are reported once
                )
            self._client = distributed.Client(self._own or address, timeout=_CONNECT_SECONDS, set_as_default=False)
            if local is None:
                self._client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            self.close()
            raise RemoteError(f"cannot reach the Dask cluster {address}: {error}", hint="dask scheduler starts one") from error

    @property
    def workers(self) -> int:
        """The number of workers that are there now, at least 1."""
        return max(len(self._client.ncores()), 1)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function returns on a worker. Raises what it raises."""
        future = self._client.submit(function, *arguments, pure=False)
        try:
            return future.result()
        except LlamacliError:
            raise
        except Exception as error:
            raise _worded(error) from error

    def stream(
        self,
        function: Callable[..., Any],
        items: Iterator[Item | None],
        size: int,
        arguments: Callable[[Sequence[Item]], tuple[Any, ...]],
    ) -> Iterator[tuple[Group[Item], Any]]:
        """Yield groups of at most `size` items with what the function returned for their `arguments`, as they end, or an error.

        None among the items: no item until a group has ended. A group whose worker is lost is done by another; if it
        fails for good, its items are tried alone, so that one cannot take the others with it.
        """
        source = _Source(items, size)
        pending: dict[Any, Group[Item]] = {}
        again: list[Group[Item]] = []
        while not self._cancelled.is_set():
            while len(pending) < self.workers * WINDOW:
                group = again.pop() if again else source.group()
                if group is None:
                    break
                pending[self._client.submit(function, *arguments(group.items), pure=False)] = group
            if not pending:
                if source.is_exhausted:
                    return
                continue
            try:
                with self._client.as_current():
                    done, _ = self._distributed.wait(list(pending), timeout=_LOOK_SECONDS, return_when="FIRST_COMPLETED")
            except TimeoutError:
                continue
            for future in done:
                group = pending.pop(future)
                if future.status == "finished":
                    yield group, future.result()
                elif len(group.items) > 1:
                    again += [Group(group.place, [item]) for item in group.items]
                else:
                    yield group, _worded(future.exception())
        self._client.cancel(list(pending))

    def is_cancelled(self) -> bool:
        """Return whether somebody has ended what runs."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End what runs, from any thread."""
        self._cancelled.set()

    def close(self) -> None:
        """Leave the cluster; workers of our own end."""
        self._cancelled.set()
        for one in (self._client, self._own):
            if one is not None:
                one.close()


class ClusterUser:
    """What works on a cluster, and owns it. A context manager."""

    _cluster: Cluster

    def cancel(self) -> None:
        """End what runs, from any thread."""
        self._cluster.cancel()

    def close(self) -> None:
        """Leave the cluster."""
        self._cluster.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Source(Generic[Item]):
    """Groups of items, as many as there are now."""

    def __init__(self, items: Iterator[Item | None], size: int) -> None:
        self._items, self._size = items, size
        self._place = 0
        self.is_exhausted = False

    def group(self) -> Group[Item] | None:
        """The next group, None if there are no items now."""
        found: list[Item] = []
        while len(found) < self._size and not self.is_exhausted:
            try:
                item = next(self._items)
            except StopIteration:
                self.is_exhausted = True
                break
            if item is None:
                break
            found.append(item)
        if not found:
            return None
        self._place += 1
        return Group(self._place - 1, found)


def threads_for(address: str) -> int | None:
    """Return the threads of each engine if the workers share this machine; None where each has a machine of its own."""
    local = _LOCAL.fullmatch(address)
    return max((os.cpu_count() or 1) // max(int(local[1]), 1), 1) if local is not None else None


def _worded(error: BaseException | None) -> LlamacliError:
    """The error of a task: ours as it is; others are those of a worker that is lost again and again."""
    if isinstance(error, LlamacliError):
        return error
    return EngineDiedError(f"a worker of the cluster failed: {error}")
