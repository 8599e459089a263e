"""Splitting rows into batches: every body is within the limits for bytes and rows, and as full as they allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.bulk import _batch_delivery
from claude_magic.bulk._batch_delivery import BatchRow, Chunk
from claude_magic.client import batch_body, batch_entry

LONGEST_NAME = "n" * 64


def row(size: int) -> BatchRow:
    """Return a row whose parameters have `size` bytes."""
    return BatchRow(key=b"k", params=b"{" + b" " * (size - 2) + b"}", worst=None)


def body_of(chunk: Chunk) -> bytes:
    return batch_body(batch_entry(LONGEST_NAME, each.params) for each in chunk.rows)


@given(
    sizes=st.lists(st.integers(2, 3_000), min_size=1, max_size=40),
    most_bytes=st.integers(1_500, 8_000),
    most_rows=st.integers(1, 10),
)
def test_every_body_is_within_the_limits_and_as_full_as_possible(
    sizes: list[int], most_bytes: int, most_rows: int
) -> None:
    """Whatever the names of the rows. A row that is too large by itself is sent alone, and the server rejects it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_batch_delivery, "MAX_BATCH_BYTES", most_bytes)
        patch.setattr(_batch_delivery, "MAX_BATCH_REQUESTS", most_rows)
        chunks = [Chunk()]
        for size in sizes:
            if not chunks[-1].has_room_for(row(size)):
                chunks.append(Chunk())
            chunks[-1].add(row(size))

    assert [len(each.params) for chunk in chunks for each in chunk.rows] == sizes
    for chunk, following in zip(chunks, [*chunks[1:], None], strict=True):
        assert len(chunk.rows) == 1 or len(body_of(chunk)) <= most_bytes
        assert 1 <= len(chunk.rows) <= most_rows
        if following is not None:
            is_full = len(chunk.rows) == most_rows
            assert is_full or chunk.size + following.rows[0].size > most_bytes
    assert all(len(body_of(chunk)) <= chunk.size for chunk in chunks)
