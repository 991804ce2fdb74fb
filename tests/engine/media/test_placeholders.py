"""Placeholders of embeddings: their identity, their positions, and where a prompt may be cut."""

from __future__ import annotations

import pytest

from llamacli.engine.media.placeholders import chunk_placeholders, is_placeholder, position_after, whole_chunks

CHUNK = chunk_placeholders("a picture", 6, 3)


def test_placeholders_are_negative_numbers_of_32_bits_known_by_their_content() -> None:
    assert all(is_placeholder(token) and token >= -(2**31) for token in CHUNK)
    assert chunk_placeholders("a picture", 6, 3) == CHUNK
    others = [chunk_placeholders("another", 6, 3), chunk_placeholders("a picture", 6, 6)]
    assert all(other != CHUNK for other in others)
    assert not set(CHUNK) & set(others[0])


def test_no_two_of_many_pictures_start_alike() -> None:
    assert len({chunk_placeholders(f"picture {number}", 2, 2) for number in range(20_000)}) == 20_000


@pytest.mark.parametrize(
    ("tokens", "position"),
    [((), 0), ((5, 6), 2), (CHUNK, 3), ((5, *CHUNK, 7), 5), ((*CHUNK, *CHUNK), 6), (chunk_placeholders("x", 4, 4), 4)],
)
def test_positions(tokens: tuple[int, ...], position: int) -> None:
    assert position_after(tokens) == position


@pytest.mark.parametrize(
    ("length", "whole"), [(0, 0), (1, 1), (2, 2), (3, 2), (7, 2), (8, 8), (9, 8), (13, 8), (14, 14), (15, 15)]
)
def test_a_cut_leaves_chunks_whole(length: int, whole: int) -> None:
    assert whole_chunks((1, 2, *CHUNK, *CHUNK, 3), length) == whole
