"""Display of growing answers in a cell: surfaces, frames, buttons, and the capabilities of the front end.

Surfaces made of widgets are in `claude_magic.display.widgets`, which imports ipywidgets.
"""

from ._buttons import AnswerActions, ApprovalButtons, keep_answer, new_cell
from ._frames import (
    FRAME_INTERVAL,
    IDLE_INTERVAL,
    PANEL_FRAME_INTERVAL,
    Followed,
    Surface,
    Timer,
    follow,
    follow_blocking,
    frame_loop,
    interval_after,
    let_interrupts_arrive,
    was_interrupted,
)
from ._frontend import FrontEnd, cell_id_of, fit_lines, is_terminal, route_to_subshell, waits_for_cells
from ._recorder import OutputRecorder, keeps_displays
from ._surface import (
    AnswerContent,
    ComparisonContent,
    Content,
    QuietSurface,
    choose_surface,
    publish_final,
    remark_on_stopping,
)
