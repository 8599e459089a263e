"""Renders replies as safe HTML, Markdown and plain text, from frozen snapshots. Its functions display nothing."""

from ._frame import REMARK_DELAY, LiveFrames, describe_status, render_line
from ._gauge import GAUGE_LABEL, render_gauge, render_no_gauge
from ._limits import describe_limiter, limiter_rows, render_limits
from ._methods import Methods, describe_methods
from ._neutralise import neutralise_markdown
from ._reply import (
    HIDDEN_IN_CELL,
    IN_CASSETTE,
    LAST,
    TRANSCRIPT_CLASS,
    Bundle,
    Column,
    Exchange,
    describe_cost,
    describe_facts,
    describe_total_cost,
    render_approval,
    render_column_heading,
    render_columns,
    render_comparison,
    render_earlier,
    render_error,
    render_footer,
    render_footer_text,
    render_notice,
    render_question,
    render_reply,
    render_state,
    render_transcript,
)
from ._sanitise import COLUMN, COLUMN_BODY, COLUMNS, WIDGET_CLASSES, has_formulas, in_widget
from ._tables import (
    Row,
    file_size,
    render_history,
    render_rows,
    short_traceback,
    with_folded_code,
    wrap_error,
)
