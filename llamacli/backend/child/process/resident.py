"""Resident children: engines that stay with their model after a command has ended, for the next one with the same options.

Each has a listening socket and a file that describes it in the folder of this user's sockets, which nobody else may enter. Its
name is a digest of everything that must be equal: program, build, model file and options. So two versions never share one, but
each can list and end those of others.
Those who use one hold a lock on its description, so that others see that it is busy; they wait in the order of their coming.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import stat
import struct
import sys
import threading
import time
from _blake2 import blake2b  # hashlib would load OpenSSL first, which takes as long as ten modules
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Final

import msgspec

from llamacli.backend.child.process.launch import Launched
from llamacli.errors import EngineError
from llamacli.store.files import paths
from llamacli.values import dataclass
from llamacli.version import VERSION

_DEATH_SECONDS: Final = 0.5
_POLL_SECONDS, _DESCRIPTION_POLLS = 0.01, 500
_WAITING: Final = 128
"""Programs that may wait for one resident."""

_WORK: Final = {"embedder": "vectors", "tokenizer": "tokens"}
"""What residents do, by the last part of their service's name, if it is not text."""

_started: Final[dict[int, _Ending]] = {}
"""The ends of the residents that this process has started and that run, by process id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A resident engine. `memory` in bytes; `idle_seconds` since it was last used, None while it is busy.

    `version` is that of the program that started it. If another version wrote its description in another form, only the process
    is known: the version, the model and `work` are empty.
    """

    key: str
    pid: int
    model: str
    work: str
    keep_alive: float
    memory: int
    idle_seconds: float | None
    version: str

    @property
    def name(self) -> str:
        """The name of the model's file."""
        return Path(self.model).name

    def matches(self, name: str) -> bool:
        """Return whether a name means this one: its model's path, or its file's name or the beginning of that."""
        return name == self.model or self.name.startswith(name)


class _Description(msgspec.Struct, frozen=True, kw_only=True):
    """What the file of a resident says: its process, and what others must know to use or to list it. `model` is a path."""

    pid: int
    stamp: str
    model: bytes
    service: str
    keep_alive: float
    version: str = ""


class _Process(msgspec.Struct, frozen=True):
    """What the files of all versions say."""

    pid: Annotated[int, msgspec.Meta(gt=1)]


def stamp_of(model: Path, sandbox: str) -> str:
    """Return what residents have in common that may do one another's work: program, build, model file and sandbox."""
    from llamacli.binding.location import find_folder

    about = model.stat()
    build = (find_folder() / "build.json").read_bytes()
    path = str(model.resolve())
    return _digest(VERSION, build, sys.executable, __file__, sandbox, path, about.st_size, about.st_mtime_ns)


def key_of(stamp: str, service: str, identity: bytes) -> str:
    """Return the name of the resident that does this. `identity` are the service's arguments, in bytes."""
    return _digest(stamp, service, identity)


def _digest(*parts: bytes | str | int) -> str:
    digest = blake2b(digest_size=8)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def join_idle(stamp: str, service: str) -> Launched | None:
    """Return a connection to an idle resident of a service, whatever its arguments are; None if there is none."""
    for description in sorted(_folder().glob("*.json")):
        about = _read(description)
        if about is None or (about.stamp, about.service) != (stamp, service):
            continue
        if _idle_seconds(description) is not None and (joined := join(description.stem)) is not None:
            return joined
    return None


def join(key: str) -> Launched | None:
    """Return a connection to a resident, None if there is none."""
    description = _folder() / f"{key}.json"
    connection = _connected(key)
    if connection is None:
        return None
    for _ in range(_DESCRIPTION_POLLS):  # who starts it describes it a moment after
        if (found := _read(description)) is not None:
            break
        time.sleep(_POLL_SECONDS)
    else:
        connection.close()
        raise EngineError("the resident engine has no description", hint="`llamacli models stop --all` ends it")
    ending = _started.get(found.pid)
    return Launched(found.pid, connection, _nothing(), ending.status if ending else lambda: 0, _held(description))


@contextmanager
def settling(key: str, *, stamp: str, model: Path, service: str, keep_alive: float) -> Iterator[tuple[socket.socket, _Place]]:
    """Prepare the place of a new resident: a listening socket, and a description to be written when the process is known.

    Raises:
        EngineError: if there cannot be one, or another program was faster.
    """
    folder = _folder()
    listener = socket.socket(socket.AF_UNIX)
    try:
        with _lock(folder):
            if _connected(key) is not None:
                raise EngineError("another program has just started the same resident engine", hint="try again")
            (folder / f"{key}.sock").unlink(missing_ok=True)
            listener.bind(str(folder / f"{key}.sock"))
            listener.listen(_WAITING)
        about = _Description(
            pid=0, stamp=stamp, model=os.fsencode(model), service=service, keep_alive=keep_alive, version=VERSION
        )
        yield listener, _Place(folder / f"{key}.json", about)
    except OSError as error:
        raise EngineError(f"the engine cannot stay: {error.strerror or error} ({folder})") from error
    finally:
        listener.close()


@dataclass(frozen=True, slots=True)
class _Place:
    """The description of a resident that is being started."""

    path: Path
    about: _Description

    def take(self, launched: Launched) -> Launched:
        """Write the description, and return the child as one that stays when its connection ends."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(msgspec.structs.replace(self.about, pid=launched.pid)))
        ending = _Ending(launched)
        return Launched(launched.pid, launched.connection, launched.stderr, ending.status, _held(self.path))


class _Ending:
    """The end of a resident that this process has started, which may come long after its connection's.

    A thread waits for it: the system keeps an ended process until its parent has asked for its status.
    """

    def __init__(self, launched: Launched) -> None:
        self._launched = launched
        self._status = 0
        self._is_known = threading.Event()
        _started[launched.pid] = self
        with contextlib.suppress(RuntimeError):  # no more threads
            threading.Thread(target=self._wait, name="llamacli-resident", daemon=True).start()

    def _wait(self) -> None:
        self._status = self._launched.wait()
        self._is_known.set()
        _started.pop(self._launched.pid, None)

    def status(self) -> int:
        """Return how it has ended whose connection ended; 0 if it goes on."""
        return self._status if self._is_known.wait(_DEATH_SECONDS) else 0


def running() -> list[Resident]:
    """Return the residents of this user, and remove what dead ones left behind."""
    found = []
    for description in sorted(_folder().glob("*.json")):
        about = _read(description) or _read_foreign(description)
        connection = _connected(description.stem)
        if about is None or connection is None:
            for left in (description, description.with_suffix(".sock")):
                left.unlink(missing_ok=True)
            continue
        connection.close()
        found.append(
            Resident(
                key=description.stem,
                pid=about.pid,
                model=os.fsdecode(about.model),
                work=_WORK.get(about.service.rpartition(".")[2], "text") if about.service else "",
                keep_alive=about.keep_alive,
                memory=_memory(about.pid),
                idle_seconds=_idle_seconds(description),
                version=about.version,
            )
        )
    return found


def stop(resident: Resident) -> None:
    """End a resident, busy or not."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(resident.pid, signal.SIGTERM)
    for suffix in (".sock", ".json"):
        (_folder() / f"{resident.key}{suffix}").unlink(missing_ok=True)


def _folder() -> Path:
    """Return the folder of the sockets. Raises EngineError if somebody else owns it or may enter."""
    folder = paths.runtime_dir()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise EngineError(f"{folder} belongs to another user", hint="LLAMACLI_RUNTIME_DIR names another folder")
    if stat.S_IMODE(about.st_mode) & 0o077:
        folder.chmod(0o700)
    return folder


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _connected(key: str) -> socket.socket | None:
    """Return a connection to the socket of a resident if one listens there, as this user."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(_folder() / f"{key}.sock"))
        if hasattr(socket, "SO_PEERCRED"):
            _, owner, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if owner != os.getuid():
                raise EngineError("the resident engine belongs to another user")
    except OSError:
        connection.close()
        return None
    return connection


def _read(description: Path) -> _Description | None:
    """Return a description, None if there is none or it is damaged."""
    try:
        return msgspec.json.decode(description.read_bytes(), type=_Description)
    except (OSError, msgspec.MsgspecError):
        return None


def _read_foreign(description: Path) -> _Description | None:
    """Return the process of a resident that another version described in another form; None if it names none."""
    try:
        process = msgspec.json.decode(description.read_bytes(), type=_Process)
    except (OSError, msgspec.MsgspecError):
        return None
    return _Description(pid=process.pid, stamp="", model=b"", service="", keep_alive=0.0)


def _held(description: Path) -> IO[bytes]:
    """Return the description, locked as long as it is open: the resident is busy. Its time is that of the last use."""
    file = description.open("rb")
    fcntl.flock(file, fcntl.LOCK_SH)
    os.utime(description)
    return file


def _idle_seconds(description: Path) -> float | None:
    with description.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return None
        return max(0.0, time.time() - os.fstat(file.fileno()).st_mtime)


def _memory(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _nothing() -> IO[bytes]:
    return Path(os.devnull).open("rb", buffering=0)
