"""The lock of output files."""

from __future__ import annotations

import pytest

from llamacli.batch.output_file import naming_file, sole_writer
from llamacli.batch.results import ResultFile
from llamacli.errors import LlamacliError


def test_a_file_has_one_writer_by_any_of_its_names(tmp_path):
    path, link = tmp_path / "x.jsonl", tmp_path / "link.jsonl"
    path.touch()
    link.symlink_to(path)
    with sole_writer(path):
        assert (tmp_path / "x.jsonl.lock").exists()
        for name in (path, link):
            with pytest.raises(LlamacliError, match="another process is writing it"), sole_writer(name):
                pass
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link.jsonl", "x.jsonl"]
    with sole_writer(link):
        pass


def test_a_lock_that_a_killed_process_left_is_no_obstacle(tmp_path):
    (tmp_path / "x.lock").touch()
    with sole_writer(tmp_path / "x"):
        pass


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), NotImplementedError()])
def test_where_nothing_can_be_locked_the_file_is_written_all_the_same(tmp_path, monkeypatch, error):
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    results = ResultFile(tmp_path / "results.jsonl", lambda data: None)
    results.write({"row": 0})
    results.close()
    assert (tmp_path / "results.jsonl").read_bytes() == b'{"row": 0}\n'


def test_results_release_their_lock_even_if_they_are_refused(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text("not results\n")
    for resume in (False, True):
        with pytest.raises(LlamacliError):
            ResultFile(path, lambda data: None, resume=resume)
    assert [file.name for file in tmp_path.iterdir()] == ["results.jsonl"]


def test_an_error_of_the_system_names_the_file(tmp_path):
    with pytest.raises(LlamacliError, match="cannot sort x: No space left on device"), naming_file("x", "sort"):
        raise OSError(28, "No space left on device")
