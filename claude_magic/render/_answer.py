"""What a reply says, block by block: thinking, calls, and the text in the format that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from ..answers import reveal
from ..runtime import BlockSnapshot, ReplySnapshot
from ._allowance import Allowance
from ._calls import render_calls
from ._citations import Citations
from ._formats import Body, render_body
from ._markdown import new_env, render_fragment, wrap
from ._neutralise import neutralise_markdown
from ._sanitise import sanitise
from ._thinking import render_thinking

_JUST_DATA = frozenset({"code", "json"})


def render_answer(snapshot: ReplySnapshot, *, remote_images: bool = False) -> Body:
    """Return the answer of a reply, in its format, with all that belongs to it but the footer."""
    citations = Citations(snapshot.blocks)
    if snapshot.format == "md":
        return _markdown_answer(snapshot, citations, remote_images=remote_images)
    body = render_body(snapshot.text, snapshot.format, remote_images=remote_images)
    before = "".join(_aside(snapshot))
    sources = "" if snapshot.format in _JUST_DATA else sanitise(citations.render_sources())
    return Body(before + body.html + sources, body.markdown, body.plain)


def _markdown_answer(snapshot: ReplySnapshot, citations: Citations, *, remote_images: bool) -> Body:
    parts = "".join(_parts(snapshot, citations, remote_images=remote_images))
    markdown = neutralise_markdown(citations.mark_all(snapshot.blocks))
    return Body(
        html=parts + sanitise(citations.render_sources()),
        markdown=citations.place_in_markdown(markdown),
        plain=reveal(snapshot.text),
    )


def _parts(snapshot: ReplySnapshot, citations: Citations, *, remote_images: bool) -> Iterator[str]:
    allowance = Allowance()
    for kind, blocks in _runs(snapshot):
        # Citations split a text in mid-sentence, so neighbouring text blocks are one Markdown text.
        if kind == "text":
            env = new_env(remote_images=remote_images, allowance=allowance)
            html = render_fragment(citations.mark(blocks), env)
            yield sanitise(wrap(citations.place(html)))
        elif kind == "thinking":
            yield _thinking(blocks, allowance)
        else:
            yield render_calls(blocks, among=snapshot.blocks, is_final=True)


def _aside(snapshot: ReplySnapshot) -> Iterator[str]:
    """Yield what stands above an answer that is one piece; above mere data no thinking: it is data that was asked for."""
    for kind, blocks in _runs(snapshot):
        if kind == "thinking" and snapshot.format not in _JUST_DATA:
            yield _thinking(blocks, Allowance())
        elif kind == "other":
            yield render_calls(blocks, among=snapshot.blocks, is_final=True)


def _runs(snapshot: ReplySnapshot) -> Iterator[tuple[str, tuple[BlockSnapshot, ...]]]:
    """Yield neighbouring blocks of a kind together: "text", "thinking", and whatever else there is as "other"."""
    for kind, blocks in groupby(snapshot.blocks, key=_kind):
        yield kind, tuple(blocks)


def _kind(block: BlockSnapshot) -> str:
    return block.kind if block.kind in ("text", "thinking") else "other"


def _thinking(blocks: tuple[BlockSnapshot, ...], allowance: Allowance) -> str:
    return render_thinking("\n\n".join(block.text for block in blocks), allowance=allowance)
