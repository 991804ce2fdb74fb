"""Vectors as they come from a child."""

from __future__ import annotations

import numpy as np
import pytest

from llamacli.backend.child.vectors import ReceivedRows
from llamacli.backend.child.wire.codec import ProtocolError
from llamacli.engine.embedding.outcome import Embedded

NUMBERS = np.array([[0.1, -2.5, 1e30], [0.0, 7.0, -1e-30]], np.float32)


def test_received_rows_equal_the_array_that_was_sent() -> None:
    rows = ReceivedRows(NUMBERS.tobytes(), *NUMBERS.shape)
    outcome = Embedded(0, rows, (3, 3))
    assert (rows.shape, rows.tolist(), rows.tobytes()) == (NUMBERS.shape, NUMBERS.tolist(), NUMBERS.tobytes())
    assert outcome.little_endian == NUMBERS.astype("<f4").tobytes()
    assert outcome.vectors.dtype == np.float32
    assert np.array_equal(outcome.vectors, NUMBERS)
    outcome.vectors[0, 0] = 1.0  # an array of its own, which callers may change
    assert np.array_equal(outcome.vectors, NUMBERS)


@pytest.mark.parametrize(("data", "rows", "columns"), [(b"", 0, 0), (b"", 0, 4), (bytes(8), 1, 3), (bytes(8), -1, -2)])
def test_rows_of_another_size_are_refused(data: bytes, rows: int, columns: int) -> None:
    with pytest.raises(ProtocolError, match="numbers"):
        ReceivedRows(data, rows, columns)
