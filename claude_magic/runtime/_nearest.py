"""Explains a cassette miss by the differences from the most similar recorded request."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ._recording import Recording, text_of

_COMPARED_CHARS: Final = 2_000
_MAX_COMPARED: Final = 1_000
_MIN_SIMILARITY: Final = 0.4
"""difflib ratio of two prompts above which one is probably an edited version of the other."""
_MAX_LINES: Final = 12
_MAX_CHARS: Final = 160
_TEXTS: Final = ("system", "message")


def explain_miss(
    asked: Mapping[str, Any], recordings: Sequence[Recording], name: str, *, problems: Sequence[str] = ()
) -> str:
    """Return a message that explains why a cassette has no answer to a request, and what to do.

    Args:
        asked: The request, as a cassette describes it.
        recordings: The recordings of the cassette.
        name: The name of the file.
        problems: Problems of the file, as sentences: the answer may be in an unreadable line.
    """
    beginning = " ".join(
        [
            f"The cassette {name} has no answer to this request, and replay is only: nothing was sent.",
            *problems,
        ]
    )
    remedy = "Run it with --replay auto to ask and record it."
    if not recordings:
        return f"{beginning} {'It has no other line' if problems else 'The cassette is empty or does not exist'}. {remedy}"
    nearest, similarity = _nearest(asked, recordings)
    if similarity < _MIN_SIMILARITY:
        return f"{beginning} None of its {len(recordings):,} recorded requests is similar. {remedy}"
    lines = list(_differences(nearest.request, asked)) or ["a repeated draw: it was recorded fewer times"]
    day = nearest.recorded_at[:10]
    listed = "\n".join(f"  {line}" for line in lines)
    return f"{beginning}\nWhat differs from the nearest one, recorded on {day} (- recorded, + asked now):\n{listed}\n{remedy}"


def _nearest(asked: Mapping[str, Any], recordings: Sequence[Recording]) -> tuple[Recording, float]:
    text = text_of(asked.get("message"))[:_COMPARED_CHARS]
    matcher = difflib.SequenceMatcher(None, autojunk=False)
    matcher.set_seq2(text)
    best, best_score = recordings[0], -1.0
    for recording in recordings[-_MAX_COMPARED:]:
        matcher.set_seq1(recording.prompt[:_COMPARED_CHARS])
        if matcher.real_quick_ratio() + 0.2 <= best_score:
            continue
        others = [name for name in _names(asked, recording.request) if name not in _TEXTS]
        same = sum(asked.get(name) == recording.request.get(name) for name in others)
        score = matcher.quick_ratio() + 0.1 * same / max(1, len(others))
        if score > best_score:
            best, best_score = recording, score
    return best, best_score


def _names(*requests: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(name for request in requests for name in request))


def _differences(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[str]:
    for name in _names(recorded, asked):
        old, new = recorded.get(name), asked.get(name)
        if old == new:
            continue
        if name == "earlier":
            yield "the earlier turns of the conversation"
        elif name in _TEXTS:
            yield "prompt:" if name == "message" else "system:"
            yield from _diff(text_of(old or ""), text_of(new or ""))
        else:
            yield f"{name}: - {_shown(old)}  + {_shown(new)}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return _cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}…"


def _diff(old: str, new: str) -> Iterator[str]:
    """Yield the lines that differ, removed lines before added ones."""
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0))[2:]
    changed = [line for line in lines if not line.startswith("@@")]
    if not changed:
        yield "  trailing whitespace, or blocks other than text"
    yield from (f"  {_cut(f'{line[0]} {line[1:]}')}" for line in changed[:_MAX_LINES])
    if len(changed) > _MAX_LINES:
        yield f"  and {len(changed) - _MAX_LINES} more lines"
