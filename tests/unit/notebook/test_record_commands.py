"""`%claude cassette`: its table, and what it refuses to delete."""

from __future__ import annotations

from pathlib import Path

import pytest
from IPython.core.error import UsageError

from claude_magic.notebook._record_commands import _prune, render_cassette
from claude_magic.runtime import Cassette, Recording


def recording(key: str, **fields: object) -> Recording:
    answer = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}]
    request = {"model": "claude-sonnet-5-5", "message": {"role": "user", "content": f"Question {key}"}}
    made = {"key": key, "recorded_at": "2026-11-27T10:00:00+00:00", "seconds": 1.0, "answer": answer}
    return Recording(**{**made, "request": request, **fields})  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cassette of three answers, recorded by an earlier kernel."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.jsonl"
    error = recording("c", error={"class": "OverloadedError", "message": "Busy."})
    Cassette(path).write([(recording("a"), False), (recording("b"), False), (error, False)])
    with path.open("a") as file:
        file.write("<<<<<<< HEAD\n")
    return path


def test_the_table_shows_which_answers_were_used(path: Path) -> None:
    """With entries, size, unused answers, and problems in the file."""
    cassette = Cassette(path)
    cassette.refresh()
    cassette.peek("b", takes=True)

    text = render_cassette(cassette).data["text/plain"]

    rows = [line.split() for line in text.splitlines() if "Question" in line]
    assert [row[-2:] for row in rows] == [["not", "used"], ["5", "used"], ["not", "used"]]
    assert "error" in rows[2]
    assert "c.jsonl: 3 answers, 1 kB." in text
    assert "2 not used in this kernel. After a whole run, %claude cassette prune deletes them." in text
    assert "merge conflict markers (line 5)" in text


def test_pruning_before_anything_was_used_is_refused(path: Path) -> None:
    """It would delete everything."""
    cassette = Cassette(path)
    cassette.refresh()
    with pytest.raises(UsageError, match="would delete all of them"):
        _prune(cassette)

    cassette.peek("b", takes=True)

    assert _prune(cassette) == "Deleted: 2 answers that this kernel has not used, 1 kB. c.jsonl holds 1."
