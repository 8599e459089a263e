"""`claude.map`: one prompt for many rows. No row is lost or paid for twice, and the price is estimated before anything is sent."""

from __future__ import annotations

from ._bar import MapSurface
from ._batch_list import BatchDesk, BatchList
from ._journal import Journal, JournalError, journal_path
from ._mapper import Mapper, used_names
from ._origins import failed_rows, origin_of
from ._plan import MapPlan, make_plan
from ._preview import render_preview
from ._request import Request
from ._run import MapRun, MapSnapshot, MapStoppedError
from ._runs import Runs, describe_pruning, render_difference, render_runs
