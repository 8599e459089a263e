"""`%claude continue`: go on with an answer that was cut, by `max_tokens`, an interrupt or a dropped connection.

Current models do not take a half answer to complete; the documented way is to keep it in the conversation and to ask for
the rest in a message of its own.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ..client import ConfigurationError
from ..runtime import Phase, Reply
from ._draft import Draft

if TYPE_CHECKING:
    from ._magics import ClaudeMagics
    from ._options import Request

_TAIL_CHARS = 200

_GO_ON = (
    "Your last answer was cut off before its end. Go on exactly where it stopped, in the middle of the word if need be: "
    "repeat nothing, and add no preamble. It stopped with:\n\n{tail}"
)
_BEGIN = "You were interrupted before the first word of your answer. Go on."
_GO_ON_ALONE = (
    "I asked you this:\n\n<question>\n{question}\n</question>\n\nYour answer was cut off. This is what arrived:\n\n"
    "<answer>\n{text}\n</answer>\n\nGo on exactly where it stopped, in the middle of the word if need be: repeat nothing, and "
    "add no preamble."
)


def continue_answer(magics: ClaudeMagics, request: Request) -> Draft:
    """Return the question that asks for the rest of a cut answer.

    Raises:
        ConfigurationError: There is none.
    """
    runtime, options = magics.runtime(), request.options
    last = runtime.last
    if options.thread is None and last is not None and last.thread is not None:
        options = dataclasses.replace(options, thread=last.thread)
    place = runtime.conversations.place(thread=options.thread, cell=magics.cell_keys.peek(magics.shell))
    parent = runtime.conversations.parent_turn(place)
    if parent is not None and parent.is_partial:
        beginning = _whole_so_far(parent.answer_text, last)
        content = _GO_ON.format(tail=beginning[-_TAIL_CHARS:]) if beginning.strip() else _BEGIN
    elif last is not None and last.thread is None and _is_cut(last):
        beginning = last.text
        content = _GO_ON_ALONE.format(question=last.prompt, text=beginning)
        options = dataclasses.replace(options, no_history=True)
    else:
        head = runtime.conversations.parent_turn(runtime.conversations.place(thread=options.thread))
        raise ConfigurationError(
            _describe_nothing(last, is_last_turn_cut=head is not None and head.is_partial)
        )
    return Draft(prompt="continue", content=content, options=options, beginning=beginning)


def _whole_so_far(cut: str, last: Reply | None) -> str:
    """Return the answer from its beginning: one that was continued before is more than its last part."""
    return last.text if last is not None and last.text.endswith(cut) else cut


def _is_cut(reply: Reply) -> bool:
    return _broke_off(reply) and bool(reply.text.strip())


def _broke_off(reply: Reply) -> bool:
    return reply.phase in (Phase.FAILED, Phase.CANCELLED) or reply.stop_reason == "max_tokens"


def _describe_nothing(last: Reply | None, *, is_last_turn_cut: bool) -> str:
    if is_last_turn_cut:
        return (
            "The answer that was cut is not what this cell goes on from: run again, a cell asks in place of its former question. "
            "Continue in a new cell."
        )
    if last is None:
        return "There is no answer to continue, because nothing has been asked yet."
    if last.thread is not None and _is_cut(last):
        return "The answer that was cut is not part of the conversation any more: it was taken back, or the thread was cleared."
    if _broke_off(last):
        return "The last answer broke off before its first word, so there is nothing to continue. Ask again."
    return "There is no answer to continue: the last one came to its end. Ask for more in words of your own."
