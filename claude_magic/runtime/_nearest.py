"""Why the cassette has no answer: what differs from the recorded request that is most like the one that is asked."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ._recording import Recording, text_of

_COMPARED_CHARS: Final = 2_000
_MOST_COMPARED: Final = 1_000
_LIKELY: Final = 0.4
"""Of two prompts, as difflib measures it, from which on one is probably an edited form of the other."""
_MOST_LINES: Final = 12
_MOST_CHARS: Final = 160
_TEXTS: Final = ("system", "message")


def explain_miss(
    asked: Mapping[str, Any], recordings: Sequence[Recording], name: str, *, problems: Sequence[str] = ()
) -> str:
    """Return why a request has no answer in a cassette, and what to do.

    Args:
        asked: The request, as a cassette describes it.
        recordings: What the cassette has.
        name: The file.
        problems: What is wrong in it, as sentences: the answer may stand in a line that cannot be read.
    """
    beginning = " ".join(
        [
            f"The cassette {name} has no answer to this request, and replay is only: nothing was sent.",
            *problems,
        ]
    )
    way_out = "Run it with --replay auto to ask and record it."
    if not recordings:
        return f"{beginning} {'It has no other line' if problems else 'The cassette is empty, or not there'}. {way_out}"
    nearest, likeness = _nearest(asked, recordings)
    if likeness < _LIKELY:
        return f"{beginning} None of its {len(recordings):,} recorded requests is like it. {way_out}"
    lines = list(_differences(nearest.request, asked)) or ["a repeated draw: it was recorded fewer times"]
    day = nearest.recorded_at[:10]
    listed = "\n".join(f"  {line}" for line in lines)
    return f"{beginning}\nWhat differs from the nearest one, recorded on {day} (- recorded, + asked now):\n{listed}\n{way_out}"


def _nearest(asked: Mapping[str, Any], recordings: Sequence[Recording]) -> tuple[Recording, float]:
    text = text_of(asked.get("message"))[:_COMPARED_CHARS]
    matcher = difflib.SequenceMatcher(None, autojunk=False)
    matcher.set_seq2(text)
    best, best_score = recordings[0], -1.0
    for recording in recordings[-_MOST_COMPARED:]:
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
            yield "the earlier turns of the conversation, as said or as answered"
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
    return text if len(text) <= _MOST_CHARS else f"{text[: _MOST_CHARS - 1]}…"


def _diff(old: str, new: str) -> Iterator[str]:
    """Yield the lines that differ, those that are gone before those in their place."""
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0))[2:]
    changed = [line for line in lines if not line.startswith("@@")]
    if not changed:
        yield "  blanks at the ends of lines, or other blocks than text"
    yield from (f"  {_cut(f'{line[0]} {line[1:]}')}" for line in changed[:_MOST_LINES])
    if len(changed) > _MOST_LINES:
        yield f"  and {len(changed) - _MOST_LINES} more lines"
