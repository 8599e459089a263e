"""Pictures of replies: safe HTML, Markdown and plain text from frozen snapshots. Pure: nothing is displayed here."""

from ._calls import render_calls
from ._folded_code import render_folded_code
from ._footer import describe_cost, describe_facts, render_footer, render_footer_text
from ._formats import render_growing
from ._growing import MAX_BLOCKS, Block, BlockPlan, GrowingMarkdown
from ._history import render_history
from ._markdown import render_markdown
from ._neutralise import neutralise_markdown
from ._notice import render_notice
from ._picture import A_WHILE, LivePicture
from ._reply import Bundle, render_reply
from ._rows import render_rows
from ._status_line import describe_status, render_line, render_status_line
from ._thinking import render_thinking
from ._traceback import short_traceback
from ._transcript import TRANSCRIPT_CLASS, Exchange, render_question, render_transcript

__all__ = [
    "A_WHILE",
    "MAX_BLOCKS",
    "TRANSCRIPT_CLASS",
    "Block",
    "BlockPlan",
    "Bundle",
    "Exchange",
    "GrowingMarkdown",
    "LivePicture",
    "describe_cost",
    "describe_facts",
    "describe_status",
    "neutralise_markdown",
    "render_calls",
    "render_folded_code",
    "render_footer",
    "render_footer_text",
    "render_growing",
    "render_history",
    "render_line",
    "render_markdown",
    "render_notice",
    "render_question",
    "render_reply",
    "render_rows",
    "render_status_line",
    "render_thinking",
    "render_transcript",
    "short_traceback",
]
