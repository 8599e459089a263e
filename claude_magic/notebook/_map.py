"""`--map df`: asks about each row of a table, list or dict, in a cell. The package `bulk` does the work."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from ..bulk import MapPlan, MapRequest, MapRun, MapSurface, make_plan, render_preview
from ..context import resolve_name
from ..runtime import Phase
from ._answer import WAITED, bind, can_answer_in_background, draw_in_background, follow_to_end
from ._question import collect_attachments, make_question

if TYPE_CHECKING:
    from ._cell import Cell
    from ._line import Line

_IN_UNDERSCORE = "the result is in `_`; `-o NAME` gives it a name"
_STOPPED = "the map was stopped. What was answered is kept: "


async def map_rows(line: Line, cell: Cell) -> Any:
    """Ask about each row of the table that `--map` names, and return it with the answers.

    Returns:
        A table, list or dict, as `claude.map` does; the `MapRun` with `--bg`; None after a dry run.

    Raises:
        KeyboardInterrupt: The cell was interrupted. The variable of `-o` has the answers so far.
        ClaudeError: The map could not be sent, or ended before all rows were asked. In the latter case the variable of `-o` has
            the answers so far.
    """
    options, runtime = line.options, cell.runtime
    with contextlib.closing(make_plan(_map_request(line, cell), runtime)) as plan:
        for _ in plan.read():
            if cell.is_awaited:
                await asyncio.sleep(0)  # so that an interrupt can arrive
        if options.dry_run:
            cell.front_end.show(render_preview(plan.preview(), redact=runtime.redact))
            return None
        plan.approve_price(cell.front_end)
        # The cell's previous outputs, where an earlier job of this cell draws, have been removed.
        runtime.jobs.stop_of_cell(cell.key)
        if can_answer_in_background(line, cell):
            return _map_in_background(line, plan, cell)
        can_stop = cell.is_awaited and cell.front_end.runs_clicks

        def surface_for(run: MapRun) -> MapSurface:
            return MapSurface(
                cell.front_end,
                owns_area=cell.is_awaited,
                is_quiet=options.quiet or line.is_silenced,
                is_live=cell.is_live,
                stop=run.cancel if can_stop else None,
                keeps=run.again == "",
                hint="" if options.out else _IN_UNDERSCORE,
                result=options.out or "_",
            )

        run, is_interrupted = await follow_to_end(plan.start, surface_for, cell)
    result = run.so_far()
    bind(run if options.background else result, line, cell)
    if options.background:
        cell.front_end.say(WAITED)
    if is_interrupted or run.phase is Phase.CANCELLED:
        raise KeyboardInterrupt(_STOPPED + run.how_to_continue("the cell"))
    run.check()
    return run if options.background else result


def _map_request(line: Line, cell: Cell) -> MapRequest:
    """Return the map request of a cell.

    Raises:
        ConfigurationError: The variable does not exist, or an attachment or the schema cannot be used.
    """
    options, names = line.options, cell.names()
    prompt = line.prompt.rstrip().removesuffix(";") if line.is_silenced else line.prompt
    attachments = collect_attachments(options, cell)
    return MapRequest(
        items=resolve_name(options.map or "", names, asked_by="--map"),
        # The rows belong to no conversation.
        question=make_question(line.with_options(no_history=True), cell, prompt, attachments),
        names=names,
        max_cost=options.max_cost,
        via=options.via or "online",
    )


def _map_in_background(line: Line, plan: MapPlan, cell: Cell) -> MapRun:
    """Start a map, and return immediately; its progress is drawn in this cell while other cells run."""
    runtime, front_end = cell.runtime, cell.front_end
    run = plan.start()
    runtime.jobs.add(run, cell=cell.key)
    bind(run, line, cell)
    job = runtime.jobs.find(run)
    if not front_end.has_kernel:
        print(f"Job {job.number} has started; %claude jobs shows its progress.")
        return run
    surface = MapSurface(
        front_end,
        is_quiet=line.options.quiet or line.is_silenced,
        remark=f"in the background · %claude stop {job.number} ends it",
        result=f"{line.options.out or '_'}.so_far()",
    )
    draw_in_background(run, surface.draw, surface.finish)
    return run
