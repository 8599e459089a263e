"""The cassette file: format of a line, damaged files, concurrent writers, and pruning."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from claude_magic.client import (
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    MessageAccumulator,
    MessageRequest,
    MessageStart,
    MessageStop,
    OverloadedError,
    StreamEvent,
)
from claude_magic.runtime import _cassette
from claude_magic.runtime._cassette import Cassette, CassetteError
from claude_magic.runtime._provenance import parameters_of
from claude_magic.runtime._recording import (
    EventCollector,
    Recording,
    clean_request,
    cleaned,
    describe_request,
    error_fields,
    error_of,
    has_user_secret,
    unfold,
    without_secrets,
)
from claude_magic.runtime._replay import explain_miss

DAY = "2026-11-27T10:00:00+00:00"


def recording(key: str = "a", text: str = "Hello", **fields: Any) -> Recording:
    request = {"model": "claude-sonnet-5-5", "max_tokens": 100, "message": {"role": "user", "content": key}}
    answer = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "message_stop"},
    ]
    return Recording(
        **{"key": key, "recorded_at": DAY, "seconds": 1.5, "request": request, "answer": answer} | fields
    )


def texts(cassette: Cassette) -> list[str]:
    cassette.refresh()
    return [each.answer[0]["delta"]["text"] for each in cassette.recordings()]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a cassette that does not exist yet, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "claude.cassette.jsonl"


@pytest.fixture
def cassette(path: Path) -> Cassette:
    """A cassette with two answers."""
    made = Cassette(path)
    made.write([(recording("a", "Hello"), False), (recording("b", "Grüße 🙂"), False)])
    return made


# Lines


def test_a_line_reads_as_text_and_comes_back_the_same(cassette: Cassette, path: Path) -> None:
    """One object per line after the header; text unescaped, default values left out."""
    head, *lines = path.read_text(encoding="utf-8").splitlines()

    assert json.loads(head) == {"cassette": "claude_magic", "version": 1}
    assert len(lines) == 2
    assert "Grüße 🙂" in lines[1]
    assert "occurrence" not in lines[0]
    assert Recording.of(json.loads(lines[1])) == recording("b", "Grüße 🙂")


def test_the_same_recording_is_the_same_bytes() -> None:
    """The order of the source fields does not matter."""
    first = recording(request_id="req_1", occurrence=2, is_simulated=True, pace=(5, 3))
    again = Recording.of(json.loads(first.to_line()))

    assert again == first
    assert again.to_line() == first.to_line()


def test_half_a_character_is_written_as_its_escape(path: Path) -> None:
    """The file stays UTF-8."""
    Cassette(path).write([(recording("a", "\ud83d"), False)])

    assert texts(Cassette(path)) == ["\ud83d"]


# Damage


def test_a_line_that_is_cut_is_named_once_and_stays(cassette: Cassette, path: Path) -> None:
    """As after `kill -9`; the next line is not appended to it."""
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[1][:40])
    other = Cassette(path)
    assert texts(other) == ["Hello", "Grüße 🙂"]
    assert other.remarks() == [
        "A line of the cassette cannot be read: claude.cassette.jsonl:4 (not JSON, or truncated). It is left unchanged."
    ]
    assert other.remarks() == []

    other.write([(recording("c", "new"), False)])

    assert texts(Cassette(path)) == ["Hello", "Grüße 🙂", "new"]
    assert path.read_bytes().splitlines()[3] == whole.splitlines()[1][:40]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "not JSON, or truncated"),
        (b"[1]", "it is not a JSON object"),
        (b'{"key": 1}', "its key is not valid"),
        (b'{"key": "x"}', "it has no recorded_at"),
        (b'{"key": "x", "recorded_at": "", "request": {}, "answer": [1]}', "its answer is not a list of events"),
        (b'{"key": "x", "recorded_at": "", "request": {}, "answer": [], "pace": ["1"]}', "its pace is not a list of numbers"),
        (b'{"key": "x", "recorded_at": "", "request": {}, "answer": [{"type": "ping"}], "pace": [1%s, 1]}' % (b"0" * 400), "its pace is not a list of numbers"),
        (b'{"key": "x", "recorded_at": "", "request": {}, "answer": [], "seconds": 1%s}' % (b"0" * 400), "its seconds is not valid"),
        (b'{"key": "x", "recorded_at": "", "request": {}, "answer": [], "seconds": NaN}', "its seconds is not valid"),
        (b'{"key": "x", "recorded_at": "", "request": {}, "answer": [{"delta": 1}]}', "its answer is not a list of events"),
        (b'{"key": "x", "recorded_at": "", "request": {}, "answer": []}', "its answer is empty"),
        (b'{"key": "\xff"}', "not UTF-8"),
        (recording("b", "other").to_line().decode().encode("utf-16"), "not UTF-8"),
        (recording("b", "other").to_line().decode().encode("utf-16-le"), "not JSON, or truncated"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)  # fmt: skip
def test_a_bad_line_costs_itself_alone(cassette: Cassette, path: Path, line: bytes, reason: str) -> None:
    """It is reported with file and line, and neither writing, replacing nor pruning deletes it."""
    head, first, second = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([head, first, line, second, b""]))
    other = Cassette(path)
    other.refresh()
    (remark,) = other.remarks()
    assert f"claude.cassette.jsonl:3 ({reason})" in remark

    other.used.add(("b", 1))
    other.write([(recording("b", "again"), True)])
    other.prune()

    assert line in path.read_bytes().splitlines()
    assert texts(Cassette(path)) == ["again"]


def test_a_byte_order_mark_before_a_line_is_ignored(cassette: Cassette, path: Path) -> None:
    """As in two cassettes that were joined, the second with the mark of an editor."""
    head, first, second = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([head, first, b"\xef\xbb\xbf" + head, b"\xef\xbb\xbf" + second, b""]))
    other = Cassette(path)
    assert texts(other) == ["Hello", "Grüße 🙂"]
    assert other.problems == ()

    other.used.add(("b", 1))
    other.write([(recording("b", "again"), True)])
    assert texts(Cassette(path)) == ["Hello", "again"]
    assert other.prune()[0] == 1
    assert texts(Cassette(path)) == ["again"]


def test_a_merge_conflict_gives_both_sides(cassette: Cassette, path: Path) -> None:
    """Of two answers to one request the later counts, until the conflict is resolved."""
    head, first, second = path.read_bytes().splitlines()
    theirs = recording("a", "Theirs").to_line()
    path.write_bytes(
        b"\n".join([head, b"<<<<<<< HEAD", first, b"=======", theirs, b">>>>>>> branch", second, b""])
    )
    other = Cassette(path)

    assert texts(other) == ["Theirs", "Grüße 🙂"]
    assert "merge conflict markers (line 2)" in other.remarks()[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b"\n", b"\n\n"),
        lambda data: data.removesuffix(b"\n"),
        lambda data: b"\n".join(data.splitlines()[1:]),
        lambda data: b"\n".join([*data.splitlines(), data.splitlines()[0], b""]),
    ],
    ids=["CRLF", "a byte order mark", "blank lines", "no last line end", "no first line", "two first lines"],
)
def test_what_editors_and_git_do_to_a_file_does_no_harm(cassette: Cassette, path: Path, change: Any) -> None:
    """It is read as before, and new lines have the same line ending."""
    path.write_bytes(change(path.read_bytes()))
    other = Cassette(path)
    assert texts(other) == ["Hello", "Grüße 🙂"]
    assert other.remarks() == []

    other.write([(recording("c", "new"), False)])
    other.write([(recording("a", "Changed"), True)])

    assert texts(Cassette(path)) == ["Changed", "Grüße 🙂", "new"]
    data = path.read_bytes()
    assert data.count(b"\r\n") in (0, data.count(b"\n"))


def test_a_newer_file_is_neither_read_nor_changed(path: Path) -> None:
    """Its answers may have another meaning."""
    path.write_text('{"cassette": "claude_magic", "version": 2}\n')
    cassette = Cassette(path)

    with pytest.raises(CassetteError, match=r"newer claude_magic \(version 2; this one supports 1\)"):
        cassette.refresh()
    with pytest.raises(CassetteError, match="newer claude_magic"):
        cassette.put(recording()).result(60)
    assert path.read_text() == '{"cassette": "claude_magic", "version": 2}\n'


def test_a_folder_in_its_place_is_an_error(path: Path) -> None:
    """Any unreadable path is an error."""
    path.mkdir()

    with pytest.raises(CassetteError, match="cannot be read"):
        Cassette(path).refresh()


def test_the_reason_of_a_system_ends_its_sentence_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems end their error messages with a full stop, some do not."""
    for said in ("The share is gone", "The share is gone."):

        def fail(*_args: object, reason: str = said) -> None:
            raise OSError(5, reason)

        monkeypatch.setattr(_cassette, "_bytes_of", fail)
        with pytest.raises(CassetteError) as read:
            _cassette._read(path, "c.jsonl")
        assert str(read.value) == "The cassette c.jsonl cannot be read: The share is gone. Nothing was sent."
        monkeypatch.setattr(_cassette, "make_folder", fail)
        with pytest.raises(CassetteError, match=r"cannot be written: The share is gone\. Its previous"):
            Cassette(path).put(recording()).result(60)


# Writing


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_an_error(path: Path) -> None:
    """The answer is not lost: the caller still shows it."""
    path.parent.chmod(0o500)
    try:
        with pytest.raises(CassetteError, match="cannot be written: Permission denied"):
            Cassette(path).put(recording()).result(60)
    finally:
        path.parent.chmod(0o700)


def test_a_full_disk_leaves_the_file_as_it_was(
    cassette: Cassette, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partially written lines are removed."""
    before = path.read_bytes()

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for replaces in (False, True):
        with pytest.raises(CassetteError, match="No space left on device"):
            cassette.write([(recording("a", "x" * 100), replaces)])

    assert path.read_bytes() == before
    assert [
        each.name
        for each in path.parent.iterdir()
        if "tmp" in each.name or each.name.startswith(".claude-magic.")
    ] == []
    assert texts(cassette) == ["Hello", "Grüße 🙂"]


def test_two_kernels_on_one_cassette_lose_no_line(path: Path) -> None:
    """They write alternately, and each sees the other's lines."""
    kernels = [Cassette(path), Cassette(path)]

    def work(number: int) -> None:
        for index in range(25):
            kernels[number].write([(recording(f"{number}.{index}", str(index)), index % 5 == 4)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(len(texts(each)) == 50 for each in kernels)


def test_what_another_kernel_writes_is_found(cassette: Cassette, path: Path) -> None:
    """The cassette need not be opened again."""
    assert cassette.is_changed() is False
    Cassette(path).write([(recording("c", "new"), False)])

    assert cassette.is_changed()
    cassette.refresh()
    assert cassette.peek("c") == recording("c", "new")


def test_a_replaced_line_stays_in_its_place(cassette: Cassette, path: Path) -> None:
    """A diff shows only this line; earlier occurrences of the same request are removed, too."""
    cassette.write([(recording("a", "twice", occurrence=2), False)])
    other = Cassette(path)
    other.refresh()

    other.write([(recording("a", "again"), True)])
    other.write([(recording("a", "again 2", occurrence=2), True)])

    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    assert [(each["key"], each["answer"][0]["delta"]["text"]) for each in lines] == [
        ("a", "again"),
        ("b", "Grüße 🙂"),
        ("a", "again 2"),
    ]


def test_a_link_to_a_file_stays_a_link(cassette: Cassette, path: Path) -> None:
    """The target of the link is replaced."""
    target = path.with_name("target.jsonl")
    path.rename(target)
    path.symlink_to(target)

    Cassette(path).write([(recording("a", "again"), True)])

    assert path.is_symlink()
    assert texts(Cassette(target)) == ["again", "Grüße 🙂"]


def test_prune_deletes_what_was_not_used(cassette: Cassette, path: Path) -> None:
    """Superseded lines are deleted, too. Recordings made in the meantime by any kernel stay."""
    cassette.write([(recording("b", "later"), False)])
    other = Cassette(path)
    other.refresh()
    other.used.add(("b", 1))
    fresh = recording("c", "fresh", recorded_at="2999-01-01T00:00:00+00:00")
    Cassette(path).write([(fresh, False)])

    deleted, freed = other.prune()

    assert (deleted, texts(Cassette(path))) == (2, ["later", "fresh"])
    assert freed > 0


def test_the_lock_is_in_a_folder_that_git_ignores(cassette: Cassette, path: Path) -> None:
    """No file next to the cassette can be committed by mistake."""
    assert {each.name for each in path.parent.iterdir()} == {path.name, ".claude-magic"}
    assert (path.parent / ".claude-magic" / ".gitignore").read_text() == "*\n"


@pytest.mark.skipif(sys.platform == "win32", reason="other rights there")
def test_a_rewritten_file_keeps_its_rights(cassette: Cassette, path: Path) -> None:
    """The group may have permissions."""
    path.chmod(0o664)

    cassette.write([(recording("a", "again"), True)])

    assert path.stat().st_mode & 0o777 == 0o664


# The times that a request is asked


def test_what_is_asked_again_is_answered_in_order(cassette: Cassette) -> None:
    """The last answer is repeated for a request asked more often than it was recorded."""
    cassette.write([(recording("a", "two", occurrence=3), False)])
    found = []
    for _ in range(4):
        peeked = cassette.peek("a", takes=True)
        assert peeked is not None
        found.append(peeked.answer[0]["delta"]["text"])

    assert found == ["Hello", "two", "two", "two"]
    assert cassette.peek("x") is None


# Events


def fold(batches: list[tuple[float, list[StreamEvent]]], began: float) -> tuple[list[Any], list[int]]:
    collected = EventCollector()
    for at, events in batches:
        collected.add(at, events)
    return collected.fold(began)


def events_of(*pieces: str) -> list[StreamEvent]:
    deltas = [
        ContentBlockDelta(0, "text_delta", piece, {"type": "text_delta", "text": piece}) for piece in pieces
    ]
    return [ContentBlockStart(0, {"type": "text", "text": ""}), *deltas, ContentBlockStop(0), MessageStop()]


def test_deltas_are_joined_and_cut_again_as_they_came() -> None:
    """The times between them are kept in milliseconds; the deltas of one read become one."""
    events = events_of("One ", "two ", "three ", "", "four")
    batches = [(10.1, events[:2]), (10.15, events[2:4]), (10.15, events[4:])]

    answer, pace = fold(batches, 10.0)

    assert [each["type"] for each in answer] == [
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_stop",
    ]
    assert answer[1]["delta"]["text"] == "One two three four"
    assert pace == [100, 4, 50, 14]
    again = list(unfold(answer, pace))
    assert [(wait, event.text) for wait, event in again if isinstance(event, ContentBlockDelta)] == [
        (0.1, "One "),
        (0.05, "two three four"),
    ]


def test_blocks_that_interleave_come_back_alike() -> None:
    """Only adjacent deltas of a block are joined."""
    deltas = [(0, "a"), (1, "b"), (0, "c"), (0, "d")]
    start = {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": []}
    events: list[StreamEvent] = [MessageStart(start)]
    events += [ContentBlockStart(index, {"type": "text", "text": ""}) for index in (0, 1)]
    events += [
        ContentBlockDelta(i, "text_delta", text, {"type": "text_delta", "text": text}) for i, text in deltas
    ]

    answer, pace = fold([(0.0, events)], 0.0)
    live, replayed = MessageAccumulator(), MessageAccumulator()
    for event in events:
        live.add(event)
    for _, event in unfold(answer, pace):
        replayed.add(event)

    assert replayed.message() == live.message()


def test_a_pace_that_does_not_fit_its_text_loses_nothing() -> None:
    """Text may be shorter or longer than recorded, because a secret was redacted or a user edited it."""
    answer, _ = fold([(0.0, events_of("One two"))], 0.0)

    for pace in ([], [5], [5, 100], [5, 1], [5, 0, 5, 0], [5, -3]):
        text = "".join(
            event.text for _, event in unfold(answer, pace) if isinstance(event, ContentBlockDelta)
        )
        assert text == "One two"


def test_an_error_comes_back_as_it_was() -> None:
    """It has its class and public attributes; an error of an unknown class becomes a `ClaudeError`."""
    error = OverloadedError("Busy.", status=529, error_type="overloaded_error", request_id="req_1")
    error.give_up_reason = "Tried 4 times."

    again = error_of(json.loads(json.dumps(error_fields(error))))

    assert type(again) is OverloadedError
    assert str(again) == str(error)
    assert (again.status, again.error_type, again.is_transient) == (529, "overloaded_error", True)
    assert str(error_of({"class": "SystemExit", "message": "Gone."})) == "Gone."


def test_a_signature_is_not_touched_by_redaction() -> None:
    """It must be sent back unchanged; the text around it is redacted."""
    value = {"signature": "secret", "text": "a secret", "list": ["secret", 1]}

    assert cleaned(value, lambda text: text.replace("secret", "[REDACTED]")) == {
        "signature": "secret",
        "text": "a [REDACTED]",
        "list": ["[REDACTED]", 1],
    }
    same = {"text": "nothing"}
    assert cleaned(same, str.strip) is same


def test_a_secret_in_any_field_of_a_request_is_taken_out() -> None:
    """By its form, or, outside of prose, by the name of its field."""
    token = "ghp_a1B2c3D4e5F6g7H8i9J0k1L2"
    request = MessageRequest(
        model="claude-sonnet-5-5",
        max_tokens=100,
        messages=[{"role": "user", "content": "Hello"}],
        stop_sequences=[token],
        output_config={"format": {"type": "json_schema", "schema": {"description": f"as {token}"}}},
        mcp_servers=[
            {"name": "n", "url": f"https://x/?t={token}", "authorization_token": "hand-made-7f3a9c1e"}
        ],
    )

    clean = clean_request(request, without_secrets)

    for text in (json.dumps(describe_request(clean)), json.dumps(parameters_of(request))):
        assert token not in text
        assert "hand-made" not in text
        assert "[REDACTED]" in text
    assert has_user_secret(request, clean)
    assert clean.messages is request.messages
    plain = request.model_copy(update={"stop_sequences": None, "output_config": None, "mcp_servers": None})
    assert clean_request(plain, without_secrets) is plain


# What is missing


def asked(prompt: str, **fields: Any) -> dict[str, Any]:
    return {**recording().request, "message": {"role": "user", "content": prompt}, **fields}


def test_a_miss_shows_what_differs_from_the_nearest() -> None:
    """Model, system prompt, parameters, and the lines of the prompt."""
    known = [
        recording(request=asked("Name a tree.")),
        recording(request=asked("Write about\nthree\nlighthouses.")),
    ]

    text = explain_miss(
        asked("Write about\nfour\nlighthouses.", model="claude-opus-5-5", system="Be brief."),
        known,
        "c.jsonl",
    )

    assert text == (
        "The cassette c.jsonl has no answer to this request, and replay is 'only': nothing was sent.\nDifferences from the most similar request, "
        "recorded on 2026-11-27 (- recorded, + this request):\n"
        "  model: - claude-sonnet-5-5  + claude-opus-5-5\n"
        "  prompt:\n"
        "    - three\n"
        "    + four\n"
        "  system:\n"
        "    + Be brief.\n"
        "Run it with --replay auto to ask and record it."
    )


def test_a_miss_names_earlier_turns_and_unlike_prompts() -> None:
    """A changed conversation is another question; a prompt without a similar recording is not compared."""
    known = [recording(request=asked("Go on.", earlier={"messages": 2, "sha256": "1"}))]

    changed = explain_miss(asked("Go on.", earlier={"messages": 2, "sha256": "2"}), known, "c")
    assert "the earlier turns of the conversation" in changed
    assert "None of its 1 recorded requests is similar" in explain_miss(asked("Zyx 12345 qqq"), known, "c")
    assert "The cassette is empty or does not exist" in explain_miss(asked("Go on."), [], "c")


def test_a_miss_names_the_lines_that_cannot_be_read() -> None:
    """The answer may be in such a line; an existing file is not reported as missing."""
    problem = "A line of the cassette cannot be read: c:2 (not JSON, or truncated). It is left unchanged."

    alone = explain_miss(asked("Go on."), [], "c", problems=[problem])
    assert f"nothing was sent. {problem} It has no other line." in alone
    assert problem in explain_miss(
        asked("Go on."), [recording(request=asked("Go."))], "c", problems=[problem]
    )
