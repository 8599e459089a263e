"""Pictures of replies: safe HTML, Markdown and plain text from frozen snapshots. Pure: nothing is displayed here."""

from ._answer import render_calls, render_thinking
from ._code import render_folded_code
from ._formats import render_growing
from ._frame import A_WHILE, LiveFrames, describe_status, render_line, render_status_line
from ._growing import MAX_BLOCKS, Block, BlockPlan, GrowingMarkdown
from ._markdown import render_markdown
from ._neutralise import neutralise_markdown
from ._reply import (
    HIDDEN_IN_CELL,
    LAST,
    Bundle,
    Column,
    describe_cost,
    describe_facts,
    describe_total_cost,
    render_approval,
    render_column_heading,
    render_columns,
    render_comparison,
    render_complaint,
    render_footer,
    render_footer_text,
    render_notice,
    render_reply,
)
from ._styles import COLUMN_GAP, COLUMN_WIDTHS, WIDGET_CLASSES, in_widget
from ._tables import describe_pace, render_history, render_rows, short_traceback
from ._transcript import TRANSCRIPT_CLASS, Exchange, render_question, render_state, render_transcript

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
    "LiveFrames",
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
