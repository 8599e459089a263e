"""`claude.map`: one prompt for many rows. No row is lost or paid for twice, and the price is estimated before anything is sent."""

from __future__ import annotations

from ._display import MapSurface, render_preview
from ._journal import Journal, JournalError, journal_path
from ._mapper import Mapper, used_names
from ._origins import failed_rows, origin_of
from ._plan import MapPlan, make_plan
from ._records import BatchDesk, BatchList, Runs, describe_pruning, render_difference, render_runs
from ._requests import MapRequest
from ._run import MapRun, MapStoppedError
