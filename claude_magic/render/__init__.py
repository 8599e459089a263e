"""Pictures of replies: safe HTML, Markdown and plain text from frozen snapshots. Pure: nothing is displayed here."""

from ._calls import render_calls
from ._comparison import Column, render_column_heading, render_columns, render_comparison
from ._folded_code import render_folded_code
from ._footer import (
    HIDDEN_IN_CELL,
    LAST,
    describe_cost,
    describe_facts,
    describe_total_cost,
    render_footer,
    render_footer_text,
    render_remarks,
    render_remarks_text,
)
from ._formats import render_growing
from ._growing import MAX_BLOCKS, Block, BlockPlan, GrowingMarkdown
from ._history import render_history
from ._in_widget import WIDGET_CLASSES, in_widget
from ._interaction import render_state
from ._markdown import render_markdown
from ._neutralise import neutralise_markdown
from ._notice import render_approval, render_complaint, render_notice
from ._pace import describe_pace
from ._picture import A_WHILE, LivePicture
from ._reply import Bundle, render_reply
from ._rows import render_rows
from ._status_line import describe_status, render_line, render_status_line
from ._styles import COLUMN_GAP, COLUMN_WIDTHS
from ._thinking import render_thinking
from ._traceback import short_traceback
from ._transcript import TRANSCRIPT_CLASS, Exchange, render_question, render_transcript

__all__ = [
    "A_WHILE",
    "HIDDEN_IN_CELL",
    "LAST",
    "MAX_BLOCKS",
    "COLUMN_GAP",
    "COLUMN_WIDTHS",
    "TRANSCRIPT_CLASS",
    "WIDGET_CLASSES",
    "Block",
    "BlockPlan",
    "Bundle",
    "Column",
    "Exchange",
    "GrowingMarkdown",
    "LivePicture",
    "describe_cost",
    "describe_total_cost",
    "describe_facts",
    "describe_pace",
    "describe_status",
    "in_widget",
    "neutralise_markdown",
    "render_approval",
    "render_calls",
    "render_column_heading",
    "render_columns",
    "render_comparison",
    "render_complaint",
    "render_folded_code",
    "render_footer",
    "render_footer_text",
    "render_remarks",
    "render_remarks_text",
    "render_growing",
    "render_history",
    "render_line",
    "render_markdown",
    "render_notice",
    "render_reply",
    "render_rows",
    "render_state",
    "render_status_line",
    "render_thinking",
    "render_question",
    "render_transcript",
    "short_traceback",
]
