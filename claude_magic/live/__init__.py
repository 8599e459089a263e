"""What stays alive while the kernel is busy, for cells and panels alike: drawing beside what runs, and hearing clicks."""

from ._context import displays_follow_context
from ._hearing import hear_at_once, waits_for_cells
from ._painter import Painter, painter
from ._ticker import Ticker

__all__ = ["Painter", "Ticker", "displays_follow_context", "hear_at_once", "painter", "waits_for_cells"]
