"""Renders final outputs with all their MIME types: replies with footers, comparisons, and the transcripts of panels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from itertools import pairwise
from typing import Any, Final, NamedTuple

from ..client import Usage, counted
from ..context import redact
from ..conversation import OUTPUT_KEY, Turn, in_pieces, turn_fields
from ..runtime import FROM_PANEL, FROM_PYTHON, Phase, ReplySnapshot, describe_reason, format_price
from ..schema import describe_hidden, fenced_blocks, hidden_in, reveal
from ._answer import NORMAL_STOPS, render_answer, render_thinking, runs_of
from ._markdown import close_open_marks, parse_blocks, render_markdown
from ._neutralise import neutralise_markdown
from ._sanitise import (
    APPROVAL,
    ATTACHED,
    COLUMN,
    COLUMN_BODY,
    COLUMN_FACTS,
    COLUMN_HEADING,
    COLUMN_NAME,
    COLUMNS,
    FAILURE,
    FOOTER,
    NOTICE,
    QUESTION,
    STATUS_LINE,
    folded,
    sanitise,
    sentence,
    styled,
    without_math,
)
from ._tex import Allowance

IN_CASSETTE: Final = "in the cassette: running it again costs nothing"
LAST = "claude.last"
"""The expression for the last reply, including failed and interrupted ones."""
HIDDEN_IN_CELL: Final = "In the new cell, invisible characters and those that change the direction of text are written as escapes."
_HIDDEN: Final = "The answer has invisible characters, or characters that change the direction of text"
_ENDINGS: Final[Mapping[Phase, str]] = {Phase.CANCELLED: ", stopped", Phase.FAILED: ", broke off"}
_REMEDY: Final = "Raise --max-tokens, or run `%claude continue`."
_REMEDIES: Final = {
    FROM_PANEL: "Raise Max tokens in the settings and press Retry, or ask Claude to continue.",
    FROM_PYTHON: "Raise `max_tokens`, or run `%claude continue` in a cell.",
}
"""What to do about an answer that was cut, by the origin of its question if that is no cell."""
_NO_BREAK: Final = "\N{NO-BREAK SPACE}"
_SHORT_FACT: Final = 30
_IN_FLIGHT: Final = (
    "Still in flight: this is what has arrived so far. `.result()` of this reply waits for the rest."
)


def render_footer(snapshot: ReplySnapshot, *, kept_in: str) -> str:
    """Return the footer as HTML: the warnings, then the facts.

    Args:
        snapshot: The reply.
        kept_in: The expression that has a partial answer.
    """
    return _rendered([*_remarks(snapshot, kept_in), (FOOTER, _unbroken(describe_facts(snapshot)))])


def render_remarks(snapshot: ReplySnapshot, *, kept_in: str) -> str:
    """Return the warnings about a reply as HTML; "" if there are none.

    Args:
        snapshot: The reply.
        kept_in: The expression that has a partial answer.
    """
    return _rendered(_remarks(snapshot, kept_in))


def _rendered(remarks: Sequence[tuple[str, str]]) -> str:
    return without_math("".join(sentence(*remark) for remark in remarks)) if remarks else ""


def render_footer_text(snapshot: ReplySnapshot, *, kept_in: str = LAST) -> str:
    """Return the footer as plain text: one line, or more if the answer did not end normally."""
    return "\n".join(filter(None, [render_remarks_text(snapshot, kept_in=kept_in), describe_facts(snapshot)]))


def render_remarks_text(snapshot: ReplySnapshot, *, kept_in: str) -> str:
    """Return the warnings as plain text; "" if there are none."""
    return "\n".join(text for _, text in _remarks(snapshot, kept_in))


def _remarks(snapshot: ReplySnapshot, kept_in: str) -> list[tuple[str, str]]:
    """Return the warnings about a reply, each with its style."""
    remarks = [(FOOTER, note) for note in _notes(snapshot)]
    if not snapshot.phase.is_final:
        remarks.append((FOOTER, _IN_FLIGHT))
    remarks += [(NOTICE, _describe_stop(snapshot, kept_in)), (FAILURE, _describe_failure(snapshot, kept_in))]
    return [remark for remark in remarks if remark[1]]


def _notes(snapshot: ReplySnapshot) -> tuple[str, ...]:
    hidden = describe_hidden(_hidden_in(snapshot.text))
    return (
        (*snapshot.notes, f"{_HIDDEN}: {hidden}. Each is shown by its number.") if hidden else snapshot.notes
    )


@lru_cache(maxsize=64)
def _hidden_in(text: str) -> list[str]:
    in_code = [sign for block in fenced_blocks(text) for sign in hidden_in(block.code, is_code=True)]
    return [*hidden_in(text), *in_code]


def describe_facts(snapshot: ReplySnapshot) -> str:
    """Return "model · tokens · price · seconds", as far as they are known.

    For a replayed answer, the text is the same in each run: the original cost and the date of the recording.
    """
    models = " with ".join([snapshot.model, *snapshot.helpers])
    facts = [models, *_describe_usage(snapshot)]
    if snapshot.recorded:
        cost, day = describe_cost(snapshot), snapshot.recorded[0].recorded_at[:10]
        facts.append(f"{cost} once, on {day}" if cost else f"recorded on {day}")
        facts.append(IN_CASSETTE)
    else:
        facts += [describe_cost(snapshot), f"{snapshot.elapsed:.1f} s"]
    if snapshot.is_simulated:
        facts.append("simulator")
    return " · ".join(fact for fact in facts if fact)


def _unbroken(facts: str) -> str:
    """Return facts with no-break spaces, so that a browser breaks lines only between two facts, not inside one."""
    parts = facts.split(" · ")
    if len(parts) == 1:
        return facts
    return f"{_NO_BREAK}· ".join(
        part if len(part) > _SHORT_FACT else part.replace(" ", _NO_BREAK) for part in parts
    )


def describe_cost(snapshot: ReplySnapshot) -> str:
    """Return the price, or "" if it is not known. For the simulator, it is the price of the same answer from Claude.

    If an answer ended before the server reported its token count, the price is an estimate, and is marked as such.
    """
    if snapshot.cost is None:
        return ""
    ending = _ENDINGS.get(snapshot.phase, "") if snapshot.is_estimate else ""
    simulated = " (simulated)" if snapshot.is_simulated else ""
    return f"{format_price(snapshot.cost, is_estimate=snapshot.is_estimate)}{ending}{simulated}"


def describe_total_cost(snapshots: Iterable[ReplySnapshot]) -> str:
    """Return the total price of several answers; "" if none has a price."""
    priced = [snapshot for snapshot in snapshots if snapshot.cost is not None]
    if not priced:
        return ""
    cost = sum(snapshot.cost or 0.0 for snapshot in priced)
    simulated = " (simulated)" if all(snapshot.is_simulated for snapshot in priced) else ""
    return format_price(cost, is_estimate=any(snapshot.is_estimate for snapshot in priced)) + simulated


def _describe_stop(snapshot: ReplySnapshot, kept_in: str) -> str:
    """Return the reason why the answer ended early, as a sentence or two; "" if it ended normally or failed."""
    if snapshot.phase is Phase.CANCELLED:
        return _describe_interrupt(snapshot, kept_in)
    if snapshot.phase is not Phase.COMPLETE or snapshot.stop_reason in NORMAL_STOPS:
        return ""
    match snapshot.stop_reason:
        case "max_tokens":
            after = f" after {_describe_output(snapshot.usage)} tokens" if snapshot.usage else ""
            return f"Cut at max_tokens{after}. {_REMEDIES.get(snapshot.origin, _REMEDY)}"
        case "refusal":
            return _describe_refusal(snapshot.stop_details or {})
        case "pause_turn":
            return "Paused by the server in the middle of its tool calls: send the conversation again to continue."
        case "model_context_window_exceeded":
            return (
                "Cut: the context window of the model is full. Shorten the conversation or start a new one."
            )
        case "tool_use":
            return "Waiting for the result of a tool call."
        case "compaction":
            return "Ended to compact the conversation: continue with the compacted history."
        case other:
            return f"Ended for a reason unknown to this version: {other}."


def _describe_interrupt(snapshot: ReplySnapshot, kept_in: str) -> str:
    if snapshot.text:
        return f"Interrupted: the partial answer is kept in {kept_in}."
    last = snapshot.attempts[-1] if snapshot.attempts else None
    if last is None or not last.will_retry:
        return "Interrupted."
    reason = describe_reason(last.error)
    return f"Interrupted while retrying: attempt {last.attempt} of {last.max_attempts} failed ({reason})."


def _describe_refusal(details: Mapping[str, Any]) -> str:
    category = str(details.get("category") or "").replace("_", " ")
    explanation = str(details.get("explanation") or "").strip()
    kind = f" ({category})" if category else ""
    return f"Claude declined to answer{kind}. {explanation or 'Asking the same again does not help; rephrase it.'}"


def _describe_failure(snapshot: ReplySnapshot, kept_in: str) -> str:
    if snapshot.phase is not Phase.FAILED or snapshot.error is None:
        return ""
    kept = f" The partial answer is kept in {kept_in}." if snapshot.text else ""
    return f"{type(snapshot.error).__name__}: {snapshot.error.message}{kept}"


def _describe_usage(snapshot: ReplySnapshot) -> list[str]:
    usage = snapshot.usage
    if usage is None:
        return []
    cached = f" ({usage.cache_read_input_tokens:,} cached)" if usage.cache_read_input_tokens else ""
    facts = [f"{usage.total_input_tokens:,} tokens in{cached}"]
    if usage.is_estimate:
        facts.append(f"{_describe_output(usage)} tokens out")
    elif snapshot.stop_reason is not None:
        facts.append(f"{_describe_output(usage)} out")
    return facts


def _describe_output(usage: Usage) -> str:
    return f"{'≈ ' if usage.is_estimate else ''}{usage.output_tokens:,}"


class Bundle(NamedTuple):
    """A mimebundle: `data` by MIME type, and its metadata; as a tuple, as IPython takes it."""

    data: dict[str, str]
    metadata: dict[str, Any]


def render_reply(snapshot: ReplySnapshot, *, remote_images: bool = False, kept_in: str = LAST) -> Bundle:
    """Return the final output of a reply.

    `text/html` contains thinking, calls, answer, sources and footer. `text/markdown` and `text/plain` contain only the
    answer; `text/plain` is the text of the model with visible escapes for invisible characters, or only its code or
    JSON if the format requests that. The metadata contain everything to restore the conversation from the notebook,
    but no key.

    Args:
        snapshot: The reply.
        remote_images: Load images from other hosts.
        kept_in: The expression that has a partial answer.
    """
    answer = render_answer(snapshot, remote_images=remote_images)
    data = {
        "text/html": answer.html + render_footer(snapshot, kept_in=kept_in),
        "text/markdown": answer.markdown,
        "text/plain": answer.plain,
    }
    return Bundle(data, {OUTPUT_KEY: facts_on(snapshot, shown=answer.plain)})


def facts_on(snapshot: ReplySnapshot, *, shown: str = "") -> dict[str, Any]:
    """Return the output metadata of a reply. It never contains an API key.

    Args:
        snapshot: The reply.
        shown: The plain text of the same output; "" if the output has no plain text of only this reply.
    """
    turn, recorded = snapshot.turn, snapshot.recorded
    seconds = sum(each.seconds for each in recorded) if recorded else snapshot.elapsed
    facts = {
        "model": snapshot.model,
        "request_id": snapshot.request_id,
        "prompt_sha256": snapshot.prompt_hash,
        "request_hash": None if snapshot.asked is None else snapshot.asked.key,
        "parameters": None if snapshot.asked is None else dict(snapshot.asked.parameters),
        "asked_at": recorded[0].recorded_at if recorded else snapshot.asked_at,
        "stop_reason": snapshot.stop_reason,
        "usage": snapshot.usage.model_dump(mode="json", exclude_none=True) if snapshot.usage else None,
        "cost_usd": None if snapshot.cost is None else round(snapshot.cost, 6),
        "estimated": snapshot.is_estimate or None,
        "seconds": round(seconds, 3),
        "simulated": snapshot.is_simulated or None,
        "status": None if snapshot.phase is Phase.COMPLETE else snapshot.phase.value,
        "error": type(snapshot.error).__name__ if snapshot.error else None,
        "turn": None
        if turn is None
        else turn_fields(turn, redact=lambda prompt: redact(prompt)[0], text=snapshot.text, shown=shown),
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def render_notice(text: str) -> Bundle:
    """Return a notice of this package as HTML and plain text."""
    return Bundle({"text/html": without_math(sentence(FOOTER, _unbroken(text))), "text/plain": text}, {})


def render_approval(text: str) -> str:
    """Return the approval question for a tool call as HTML, with all white space preserved."""
    return without_math(styled(APPROVAL, text))


def render_error(text: str) -> str:
    """Return an error message as HTML."""
    return without_math(sentence(FAILURE, text))


_BETWEEN: Final = "\n\n---\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One answer of a comparison.

    Attributes:
        name: The name of the model, as the user typed it.
        kept_in: The expression that holds the answer, for the remark on a partial one.
        answer: The answer so far.
    """

    name: str
    kept_in: str
    answer: ReplySnapshot

    @property
    def facts(self) -> str:
        """The line below the column's name: only the model while the answer grows, then also tokens, price and time."""
        return describe_facts(self.answer) if self.answer.phase.is_final else self.answer.model

    @property
    def remarks(self) -> str:
        """The warnings, as plain text."""
        return render_remarks_text(self.answer, kept_in=self.kept_in)


def render_comparison(columns: Sequence[Column], *, remote_images: bool = False) -> Bundle:
    """Return the final output of several answers, each under the name of its model."""
    pairs = [(column, render_answer(column.answer, remote_images=remote_images)) for column in columns]
    html = render_columns(
        (render_column_heading(column), answer.html + render_remarks(column.answer, kept_in=column.kept_in))
        for column, answer in pairs
    )
    data = {
        "text/html": html,
        "text/markdown": _BETWEEN.join(_markdown(column, answer.markdown) for column, answer in pairs),
        "text/plain": "\n\n".join(_plain(column, answer.plain) for column, answer in pairs),
    }
    facts = [{"name": column.name, **facts_on(column.answer)} for column in columns]
    return Bundle(data, {OUTPUT_KEY: {"comparison": facts}})


def render_columns(columns: Iterable[tuple[str, str]]) -> str:
    """Return columns as HTML, as many side by side as fit. Headings and answers must already be safe HTML."""
    cells = "".join(
        f'<div style="{COLUMN}">{heading}<div style="{COLUMN_BODY}">{answer}</div></div>'
        for heading, answer in columns
    )
    return f'<div style="{COLUMNS}">{cells}</div>'


def render_column_heading(column: Column) -> str:
    """Return the heading of a column as HTML: the model, tokens, price and time."""
    heading = styled(COLUMN_NAME, column.name) + styled(COLUMN_FACTS, _unbroken(column.facts))
    return without_math(f'<div style="{COLUMN_HEADING}">{heading}</div>')


def _markdown(column: Column, answer: str) -> str:
    # Escaped, because two amounts in dollars would be rendered as a formula.
    facts, remarks = (
        neutralise_markdown(text).replace("$", r"\$") for text in (column.facts, column.remarks)
    )
    parts = [f"**{neutralise_markdown(column.name)}**  \n{facts}", answer, remarks]
    return "\n\n".join(part for part in parts if part.strip())


def _plain(column: Column, answer: str) -> str:
    heading = f"{column.name}: {column.facts}"
    parts = [f"{heading}\n{'─' * len(heading)}", answer, column.remarks]
    return "\n\n".join(part for part in parts if part.strip())


TRANSCRIPT_CLASS: Final = "claude-magic-transcript"
"""CSS class of a transcript. The stylesheet of a live panel hides the transcript in the same cell."""

SECTION_CHARS: Final = 15_000
"""Maximum characters of an answer in one output. Browsers typeset all formulas of an output at once, and do not
respond meanwhile, so a long answer becomes several outputs."""


QUESTION_CHARS: Final = 20_000
"""Maximum characters of a question that are shown; all of them are sent."""

_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$")
"""A line, as the Markdown parser counts lines. Python's `splitlines` also splits at other characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A question and its answer.

    Attributes:
        question: The prompt of the user.
        attached: The names of the attachments.
        answer: The answer so far.
        threads: The thread above it and its own one, if they differ.
    """

    question: str
    attached: tuple[str, ...] = ()
    answer: ReplySnapshot
    threads: tuple[str, str] | None = None


def render_question(question: str, attached: Sequence[str] = ()) -> str:
    """Return a question as an HTML quotation: the text as typed, and the names of its attachments.

    Line breaks are `<br>` elements, so they remain on sites that remove all styles.
    """
    names = " · ".join(attached)
    below = styled(ATTACHED, f"Attached: {names}") if names else ""
    shown = "<br>".join(escape(reveal(_shortened(question.strip())), quote=False).splitlines())
    return without_math(f'<blockquote style="{QUESTION}">{shown}{below}</blockquote>')


EARLIER_SHOWN: Final = 10
"""Maximum number of earlier turns that a panel shows; a conversation of cells may have hundreds."""


def render_earlier(thread: str, turns: Sequence[Turn], *, remote_images: bool) -> str:
    """Return the earlier turns of a panel's thread as HTML, collapsed under "main · 3 earlier turns"; "" for none.

    Args:
        thread: The conversation.
        turns: Its turns, oldest first. The last few are shown.
        remote_images: Load images from other hosts.
    """
    if not turns:
        return ""
    title = f"{thread} · {counted(len(turns), 'earlier turn')}"
    left, allowance, parts = len(turns) - EARLIER_SHOWN, Allowance(), []
    if left > 0:
        parts.append(styled(FOOTER, f"{left:,} more: %claude history {thread}"))
    for turn in turns[-EARLIER_SHOWN:]:
        text = turn.answer_text
        is_shortened = len(text) > SECTION_CHARS
        shown = text[:SECTION_CHARS]
        if is_shortened or turn.is_partial:
            shown = close_open_marks(shown, is_cut=True) + ("…" if is_shortened else "")
        parts += [
            render_question(turn.prompt),
            render_markdown(shown, remote_images=remote_images, allowance=allowance),
        ]
    return sanitise(folded(escape(title, quote=False), "".join(parts)))


def render_transcript(
    exchange: Exchange, *, remote_images: bool, kept_in: str, is_joined: bool = False
) -> list[Bundle]:
    """Return an exchange as outputs of moderate size, from top to bottom, each as HTML and as Markdown.

    Args:
        exchange: The exchange.
        remote_images: Whether to load images from other hosts.
        kept_in: The expression that holds the answer.
        is_joined: Whether the outputs will be joined to a single one. Then the metadata contains the text of the answer;
            otherwise it refers to the Markdown of a long answer.
    """
    question = render_question(exchange.question, exchange.attached)
    quote = f"{_quote(exchange.question)}\n\n"
    if exchange.threads is not None:
        line = "Above: thread {}. From here on: thread {}.".format(*exchange.threads)
        question = without_math(styled(STATUS_LINE, line)) + question
        quote = f"{neutralise_markdown(line)}\n\n{quote}"
    sections = list(_sections(exchange.answer, remote_images=remote_images, kept_in=kept_in))
    shown = "" if is_joined or len(sections) == 1 else "".join(markdown for _, markdown in sections)
    sections[0] = (question + sections[0][0], quote + sections[0][1])
    facts = facts_on(exchange.answer, shown=shown)
    rest: dict[str, Any] = {}
    if shown and "turn" in facts:
        facts["turn"], rest = in_pieces(facts["turn"], start=len(quote))
    data = [
        {"text/html": f'<div class="{TRANSCRIPT_CLASS}">{html}</div>', "text/markdown": markdown}
        for html, markdown in sections
    ]
    metadata = [facts, *[rest] * (len(data) - 1)]
    return [Bundle(each, {OUTPUT_KEY: on} if on else {}) for each, on in zip(data, metadata, strict=True)]


def _sections(answer: ReplySnapshot, *, remote_images: bool, kept_in: str) -> Iterator[tuple[str, str]]:
    """Yield the answer as HTML and Markdown. A long answer of only text and thinking is yielded in several pieces."""
    kinds = {block.kind for block in answer.blocks}
    is_plain = answer.format == "md" and kinds <= {"text", "thinking"}
    if not is_plain or len(answer.text) <= SECTION_CHARS or any(block.data for block in answer.blocks):
        bundle = render_reply(answer, remote_images=remote_images, kept_in=kept_in)
        yield bundle.data["text/html"], bundle.data["text/markdown"]
        return
    pieces, last = _cut(answer.text), runs_of(answer)[-1]
    allowance = Allowance()
    thinking = render_thinking(answer.thinking, allowance=allowance)
    for index, piece in enumerate(pieces):
        is_end = index == len(pieces) - 1
        shown = last.shown(piece) if is_end and last.kind == "text" else piece
        html = render_markdown(shown, remote_images=remote_images, allowance=allowance)
        if index == 0:
            html = thinking + html
        if is_end:
            html += render_footer(answer, kept_in=kept_in)
        yield html, neutralise_markdown(piece)


def _cut(text: str) -> list[str]:
    """Return Markdown in pieces of about `SECTION_CHARS` characters, cut between top-level blocks."""
    lines = _LINE.findall(text)
    starts = [
        token.map[0] for token in parse_blocks(text) if token.level == 0 and token.nesting >= 0 and token.map
    ]
    pieces: list[str] = []
    begin = 0
    for start, end in pairwise([*starts, len(lines)]):
        if start > begin and sum(map(len, lines[begin:end])) > SECTION_CHARS:
            pieces.append("".join(lines[begin:start]))
            begin = start
    return [*pieces, "".join(lines[begin:])]


def _quote(text: str) -> str:
    """Return the user's prompt as a Markdown quotation of literal text."""
    return "\n".join(f"> {line}" for line in neutralise_markdown(_shortened(text)).splitlines()) or ">"


def _shortened(question: str) -> str:
    """Shorten a very long question for display; all of it was sent."""
    cut = len(question) - QUESTION_CHARS
    return f"{question[:QUESTION_CHARS]} … {cut:,} more characters" if cut > 0 else question


def render_state(state: str, answer: ReplySnapshot, *, remote_images: bool, kept_in: str) -> Bundle:
    """Return an answer below the state of its controls (`n = 3`). Live controls hide it like a transcript."""
    bundle = render_reply(answer, remote_images=remote_images, kept_in=kept_in)
    line = without_math(styled(STATUS_LINE, state))
    data = {
        "text/html": f'<div class="{TRANSCRIPT_CLASS}">{line}{bundle.data["text/html"]}</div>',
        "text/markdown": f"{neutralise_markdown(state)}\n\n{bundle.data['text/markdown']}",
        "text/plain": f"{state}\n\n{bundle.data['text/plain']}",
    }
    return Bundle(data, {OUTPUT_KEY: facts_on(answer, shown=data["text/plain"])})
