"""What servers refuse is remembered for some days, and a damaged file is as good as none."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path

import pytest

from llamacli.store.serving.server_fields import DAYS, MOST_SERVERS, ServerFields


def test_fields_are_remembered_by_server_and_model(tmp_path: Path) -> None:
    path = tmp_path / "new" / "servers.json"
    ServerFields(path).add("http://a", "m", {"seed", "top_k"})
    ServerFields(path).add("http://a", "n", {"stop"})
    assert set(ServerFields(path).names("http://a", "m")) == {"seed", "top_k"}
    assert set(ServerFields(path).names("http://a", "n")) == {"stop"}
    assert not ServerFields(path).names("http://b", "m")


def test_old_entries_and_the_oldest_of_too_many_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "servers.json"
    now = time.time()
    entries = {f"s m{number}": {"fields": ["seed"], "time": now} for number in range(MOST_SERVERS)}
    path.write_text(json.dumps({**entries, "old m": {"fields": ["seed"], "time": now - DAYS * 86400 - 1}}))
    fields = ServerFields(path)
    assert not fields.names("old", "m")
    fields.add("new", "m", {"seed"})
    assert len(json.loads(path.read_text())) == MOST_SERVERS
    assert not fields.names("s", "m0")
    assert fields.names("new", "m")


@pytest.mark.parametrize(
    "text", ["", "[", "[]", '{"a b": 7}', '{"a b": {"fields": [1], "time": 5}}', '{"a b": {"fields": []}}']
)
def test_a_damaged_file_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "servers.json"
    path.write_text(text)
    assert not ServerFields(path).names("a", "b")
    ServerFields(path).add("a", "b", {"seed"})
    assert ServerFields(path).names("a", "b")


def test_a_disk_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fields = ServerFields(tmp_path / "file" / "servers.json")
    fields.add("a", "b", {"seed"})
    assert not fields.names("a", "b")


def test_a_full_disk_keeps_no_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("llamacli.store.files.atomic.os.fsync", refuse)
    ServerFields(tmp_path / "servers.json").add("a", "b", {"seed"})
    assert not list(tmp_path.iterdir())
