"""Models in several files."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from llamacli.errors import ModelFileError, ModelNotFoundError
from llamacli.gguf.check.loadable import check_loadable
from llamacli.gguf.model import read_files
from llamacli.gguf.split import part_names


@pytest.mark.parametrize("part", [0, 1, 2])
def test_any_part_stands_for_the_whole_model(tmp_path: Path, part: int) -> None:
    paths = tiny.split_model(tmp_path)
    files = read_files(paths[part])
    assert [Path(location).name for location in files.locations] == [path.name for path in paths]
    assert files.header.architecture == "llama"
    assert files.size == sum(path.stat().st_size for path in paths)
    whole = {tensor.name for tensor in read_files(tiny.tiny_model(tmp_path / "whole.gguf")).tensors}
    assert {tensor.name for tensor in files.tensors} == whole
    assert {tensor.part for tensor in files.tensors} == {0, 1, 2}
    assert check_loadable(paths[part]).name == paths[0].name


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    paths = tiny.split_model(tmp_path)
    paths[1].unlink()
    with pytest.raises(ModelNotFoundError, match=r"tiny-00002-of-00003\.gguf is missing"):
        read_files(paths[0])


def test_a_part_of_another_model_is_refused(tmp_path: Path) -> None:
    paths = tiny.split_model(tmp_path)
    paths[2].write_bytes(paths[1].read_bytes())
    with pytest.raises(ModelFileError, match=r"split\.no is 1, expected 2"):
        read_files(paths[0])


def test_a_renamed_part_says_what_its_name_must_be(tmp_path: Path) -> None:
    first = tiny.split_model(tmp_path)[0].rename(tmp_path / "model.gguf")
    with pytest.raises(ModelFileError, match="-00001-of-00003"):
        read_files(first)


@pytest.mark.parametrize("name", ["a.gguf", "a-00000-of-00002.gguf", "a-00003-of-00002.gguf", "a-00001-of-99999.gguf"])
def test_names_that_tell_of_no_parts(name: str) -> None:
    assert part_names(name) == (name,)
