"""The prompt cache: blocks that prompts share, files that are whole or not there, and a bounded size."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from llamacli.errors import StateError
from llamacli.store.prompt_cache import BLOCK, block_file, folder
from llamacli.store.prompt_cache.block_file import Block, read_block, read_heading, write_block
from llamacli.store.prompt_cache.cache import PromptCache

MODEL = "model.gguf"
LAYOUT = [7, [[2, 1, 8]], [[2, 1, 8]]]


def payload(tokens: tuple[int, ...]) -> bytes:
    return b"".join(token.to_bytes(16, "little") for token in tokens)


def keep(store: PromptCache, tokens: tuple[int, ...], prompt: int | None = None, fingerprint: str = "f" * 64) -> None:
    def block_of(start: int, end: int) -> Block:
        return Block(tokens[start:end], LAYOUT, (payload(tokens[start:end]), b""))

    store.write(fingerprint, tokens, len(tokens) if prompt is None else prompt, block_of, MODEL)


def look_up(store: PromptCache, tokens: tuple[int, ...], fingerprint: str = "f" * 64) -> tuple[int, ...]:
    """The tokens of the blocks that are found; their content is checked."""
    blocks = store.read(store.find(fingerprint, tokens), tokens)
    assert all(b"".join(block.payload) == payload(block.tokens) and block.layout == LAYOUT for block in blocks)
    return tuple(token for block in blocks for token in block.tokens)


@pytest.fixture
def store(tmp_path: Path) -> PromptCache:
    return PromptCache(tmp_path / "cache", 1 << 30)


def files(store: PromptCache) -> list[Path]:
    return sorted(path for path in store.folder.rglob("*") if path.is_file())


LONG = tuple(range(1000, 1000 + 3 * BLOCK + 40))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (LONG, len(LONG)),
        (LONG[: 3 * BLOCK], 3 * BLOCK),
        (LONG[: 2 * BLOCK + 50], 2 * BLOCK),
        ((*LONG, 1, 2, 3), len(LONG)),
        (LONG[: 3 * BLOCK + 20] + (9,) * 60, len(LONG)),  # the rest is cut back by the engine
        (LONG[: 3 * BLOCK + 5] + (9,) * 60, 3 * BLOCK),
        (LONG[:BLOCK] + (9,) * 500, BLOCK),
        (LONG[: BLOCK - 1], 0),
        ((9, *LONG[1:]), 0),
        ((), 0),
    ],
)
def test_a_prompt_finds_what_it_begins_with(store, prompt, expected):
    keep(store, LONG)
    assert look_up(store, prompt) == LONG[:expected]


def test_another_fingerprint_finds_nothing(store):
    keep(store, LONG)
    assert look_up(store, LONG, "e" * 64) == ()
    keep(store, LONG, fingerprint="e" * 64)
    assert look_up(store, LONG, "e" * 64) == LONG


def test_prompts_share_their_blocks(store):
    keep(store, LONG)
    before = {path: path.stat().st_ino for path in files(store)}
    keep(store, LONG[: 2 * BLOCK] + (7,) * BLOCK)
    after = {path: path.stat().st_ino for path in files(store)}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1


def test_an_answer_is_kept_in_blocks_and_the_prompts_end_beside_them(store):
    answer = LONG + tuple(range(5000, 5000 + BLOCK))
    keep(store, answer, prompt=len(LONG))
    assert look_up(store, LONG) == LONG
    assert look_up(store, answer) == answer[: 4 * BLOCK]


STATE = ["f" * 16, 3]


def keep_states(store: PromptCache, tokens: tuple[int, ...], lengths: list[int], *, with_blocks: bool) -> None:
    def block_of(start: int, end: int) -> Block:
        return Block(tokens[start:end], LAYOUT, (payload(tokens[start:end]),))

    def state_of(start: int, end: int) -> Block:
        return Block(tokens[start:end], STATE, (f"after {end}".encode(),))

    store.write_states("f" * 64, tokens, lengths, state_of, MODEL, block_of=block_of if with_blocks else None)


def look_up_state(store: PromptCache, tokens: tuple[int, ...], *, with_blocks: bool, most: int = 10**6) -> int:
    """The tokens after which a state is found; what comes with it is checked."""
    found = store.find_state("f" * 64, tokens, lambda length: length <= most, with_blocks=with_blocks)
    blocks = store.read(found, tokens)
    if not blocks:
        return 0
    assert blocks[-1].payload == (f"after {found.tokens}".encode(),)
    read = tuple(token for block in blocks for token in block.tokens)
    assert read == tokens[: found.tokens] if with_blocks else tokens[: found.tokens][-len(read) :]
    return found.tokens


@pytest.mark.parametrize("with_blocks", [False, True])
@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (LONG, len(LONG)),
        (LONG[:-1], 2 * BLOCK),
        (LONG[: 2 * BLOCK], 2 * BLOCK),
        (LONG[: 2 * BLOCK - 1], 150),
        ((*LONG, 1, 2, 3), len(LONG)),
        (LONG[:200] + (9,) * 500, 150),
        (LONG[:149], 0),
        ((9, *LONG[1:]), 0),
        ((), 0),
    ],
)
def test_a_prompt_finds_the_last_state_before_its_end(store, prompt, expected, with_blocks):
    keep_states(store, LONG, [150, 2 * BLOCK, len(LONG)], with_blocks=with_blocks)
    assert look_up_state(store, prompt, with_blocks=with_blocks) == expected
    if expected:
        assert look_up_state(store, prompt, with_blocks=with_blocks, most=expected - 1) < expected


@pytest.mark.parametrize("with_blocks", [False, True])
def test_a_state_is_used_whole_or_not_at_all(store, with_blocks):
    keep_states(store, LONG, [150, len(LONG)], with_blocks=with_blocks)
    for path in files(store):
        if f"-{150 - BLOCK}-" in path.name:
            continue
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert look_up_state(store, LONG, with_blocks=with_blocks) in (0, 150)
        assert not path.exists() or path.read_bytes() == data[:-1] + bytes([data[-1] ^ 1])
        path.write_bytes(data)
    assert look_up_state(store, LONG, with_blocks=with_blocks) == len(LONG)
    for path in files(store):
        path.rename(path.with_name(path.name.replace("-", "-x", 1)))
    assert look_up_state(store, LONG, with_blocks=with_blocks) == 0


def test_files_are_private_and_nothing_else_is_left(store):
    keep(store, LONG)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files(store)} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (store.folder, *store.folder.iterdir())} == {0o700}
    assert not [path for path in files(store) if path.name.startswith(block_file.UNFINISHED)]


def test_an_open_folder_is_closed_to_others(store):
    store.folder.mkdir(mode=0o777)
    store.folder.chmod(0o777)
    keep(store, LONG)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_a_link_in_place_of_the_folder_is_not_used(store, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    store.folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="not a folder of this user"):
        keep(store, LONG)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("place", [0, 3, 16, 40, 200, 600, -1])
def test_a_changed_byte_is_found_and_the_file_removed(store, place):
    keep(store, LONG)
    second = store.find("f" * 64, LONG).files[1]
    data = bytearray(second.read_bytes())
    data[place] ^= 1
    second.write_bytes(data)
    assert look_up(store, LONG) == LONG[:BLOCK]
    assert not second.exists()


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_a_truncated_file_is_removed(store, size):
    keep(store, LONG)
    first = store.find("f" * 64, LONG).files[0]
    first.write_bytes(first.read_bytes()[:size])
    assert look_up(store, LONG) == ()
    assert not first.exists()


def test_a_file_under_another_name_is_damaged(store):
    keep(store, LONG)
    first, second, *_ = store.find("f" * 64, LONG).files
    first.write_bytes(second.read_bytes())
    assert look_up(store, LONG) == ()


def test_trailing_data_is_damage(store):
    keep(store, LONG)
    first = store.find("f" * 64, LONG).files[0]
    first.write_bytes(first.read_bytes() + b"x")
    with pytest.raises(StateError):
        read_block(first)


def test_the_blocks_not_used_for_longest_go_first(tmp_path):
    store = PromptCache(tmp_path / "cache", 1 << 30)
    other = tuple(range(50_000, 50_000 + 2 * BLOCK))
    keep(store, LONG)
    keep(store, other)
    for path in store.find("f" * 64, LONG).files:
        os.utime(path, (1, 1))
    assert look_up(store, LONG) == LONG  # a look-up is a use
    for path in store.find("f" * 64, other).files:
        os.utime(path, (2, 2))
    small = PromptCache(tmp_path / "cache", store.size() - 1)
    small.prune()
    assert look_up(small, LONG) == LONG
    assert len(look_up(small, other)) < len(other)


def test_the_end_of_a_prompt_goes_before_its_beginning(store):
    keep(store, LONG)
    used = [path.stat().st_mtime_ns for path in store.find("f" * 64, LONG).files]
    assert used == sorted(used, reverse=True)


def test_what_is_larger_than_the_cache_does_not_stay(tmp_path):
    store = PromptCache(tmp_path / "cache", 1000)
    keep(store, LONG)
    assert store.size() <= 1000


@pytest.mark.parametrize(("free", "expected"), [(10**9, 5 * 10**7), (10**13, 2 << 30), (0, 0)])
def test_the_default_size_follows_the_free_disk(store, monkeypatch, free, expected):
    monkeypatch.setattr(folder.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert PromptCache(store.folder).limit(0) == expected


def test_a_folder_that_is_not_there_yet_has_the_disk_of_its_parents(store):
    assert PromptCache(store.folder / "a" / "b").limit(0) > 0


def test_a_full_disk_leaves_nothing_unfinished(store, monkeypatch):
    def full(file: object, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(block_file, "_write_all", full)
    with pytest.raises(OSError, match="No space"):
        keep(store, LONG)
    assert files(store) == []


def test_what_a_killed_process_left_is_removed_later(store):
    keep(store, LONG)
    folder = next(store.folder.iterdir())
    old, young = folder / f"{block_file.UNFINISHED}a", folder / f"{block_file.UNFINISHED}b"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    store.prune()
    assert (old.exists(), young.exists()) == (False, True)
    assert look_up(store, LONG) == LONG


def test_many_write_and_remove_at_once(store):
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(6):
                tokens = LONG[:BLOCK] + tuple(range(100 * number + i, 100 * number + i + 2 * BLOCK))
                keep(store, tokens)
                found = look_up(store, tokens)
                assert found == tokens[: len(found)]
                if number == 0:
                    store.clear()
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error for error in failures if not isinstance(error, FileNotFoundError)] == []


def test_what_is_kept_is_listed_by_model_and_removed(store):
    keep(store, LONG)
    write_block(next(store.folder.iterdir()) / "x.block", Block((1,), LAYOUT, (b"p",)), "other.gguf")
    assert {one.model: one.tokens for one in store.kept()} == {MODEL: len(LONG), "other.gguf": 1}
    assert sum(one.size for one in store.kept()) == store.size()
    assert store.clear("other.gguf") > 0
    assert [one.model for one in store.kept()] == [MODEL]
    assert store.clear() > 0
    assert (store.kept(), store.size(), list(store.folder.iterdir())) == ([], 0, [])


def test_a_question_has_the_files_of_its_prompt_the_last_time(store):
    keep(store, LONG)
    found = store.find("f" * 64, LONG)
    assert store.recall("ab12") == ()
    store.remember("ab12", found.files[:1], MODEL)
    store.remember("ab12", found.files, MODEL)
    assert store.recall("ab12") == found.files
    assert store.recall("ab13") == ()
    assert [one.tokens for one in store.kept()] == [len(LONG)]
    blocks = store.read_files(store.recall("ab12"))
    assert store.agreeing(found, LONG, blocks) == blocks
    assert store.agreeing(found, (*LONG[:BLOCK], *LONG[: 2 * BLOCK]), blocks) == blocks[:1]
    store.clear(MODEL)
    assert (store.recall("ab12"), store.size()) == ((), 0)


@pytest.mark.parametrize(
    "layout", [None, "aa/bb.block", [7], ["../bb.block"], ["/etc/x.block"], ["aa/../bb.block"], ["aa/bb"], ["aa/b b.block"]]
)
def test_a_question_names_files_of_the_cache_only(store, layout):
    path = store.make_folder("questions") / "ab12.question"
    write_block(path, Block((), layout, ()), MODEL)
    assert store.recall("ab12") == ()


def test_a_damaged_question_has_no_files(store):
    keep(store, LONG)
    store.remember("ab12", store.find("f" * 64, LONG).files, MODEL)
    path = store.folder / "questions" / "ab12.question"
    whole = path.read_bytes()
    for data in (whole[:-20], whole.replace(b".rest", b".test"), b""):
        path.write_bytes(data)
        assert store.recall("ab12") == ()


def test_the_heading_of_something_else_is_refused(tmp_path):
    path = tmp_path / "x.block"
    for data in (b"", b"llamacli-prompt\n", b"llamacli-prompt\n{}\n", b'llamacli-prompt\n{"version":1}\n', b"GGUF" * 100):
        path.write_bytes(data)
        with pytest.raises(StateError):
            read_heading(path)
        with pytest.raises(StateError):
            read_block(path)
