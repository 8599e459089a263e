"""The subcommands about this kernel: its conversations, jobs, key, settings and panels.

`code`, `history threads fork undo switch clear save load`, `jobs stop`, `status login logout demo`, `panel`.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.core.error import UsageError
from IPython.display import display

from ..client import ConfigurationError, as_sentence, counted, excerpt
from ..conversation import (
    MAIN_THREAD,
    THREAD_NAME,
    Forest,
    ThreadSummary,
    load_forest,
    read_notebook,
    restore,
    save_forest,
)
from ..display import new_cell
from ..render import (
    Bundle,
    Row,
    describe_cost,
    describe_status,
    limiter_rows,
    render_history,
    render_rows,
)
from ..runtime import Job, Phase, ReplySnapshot, RuntimeStatus, format_usd
from ..tools import interruptible_read
from ._commands import THIS_NOTEBOOK
from ._line import prompt_of
from ._notebook_file import notebook_path

if TYPE_CHECKING:
    from ._cell import Cell

_EXCERPT_CHARS = 60


def code(cell: Cell, _arguments: Mapping[str, str]) -> None:
    """Insert the code of the last answer into a new cell.

    Raises:
        UsageError: There is no answer, or it has no code.
    """
    last = cell.runtime.last
    if last is None:
        raise UsageError("There is no answer yet, so there is no code for a new cell. Nothing has changed.")
    found = new_cell(last.text)
    if found.kind != "code":
        raise UsageError(
            "The last answer has no code, so there is no new cell. print(claude.last.text) shows the answer."
        )
    cell.insert_below(found.source)
    if found.remark:
        cell.front_end.say(found.remark)


def history(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Show the tree of turns."""
    cell.front_end.show(render_history(cell.runtime.conversations.forest(), arguments.get("thread")))


def threads(cell: Cell, _arguments: Mapping[str, str]) -> None:
    """List the threads."""
    rows = [_row(summary) for summary in cell.runtime.conversations.threads()]
    columns = ("thread", "turns", "context", "last question")
    cell.front_end.show(render_rows([("", rows)], columns=columns, numbers=(1, 2)))


def fork(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Start a new thread at the end of the main thread.

    Raises:
        ConfigurationError: A thread with this name has turns, and another cell created it.
    """
    key = cell.next_key
    summary = cell.runtime.conversations.fork(arguments["name"], cell=key)
    cell.front_end.say(
        f"{summary.name} starts after {counted(summary.turns, 'turn')}. Continue it with --thread {as_sentence(summary.name)}"
    )


def undo(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Take back the last turns of the main thread.

    Raises:
        UsageError: It has fewer turns.
    """
    count, conversations = int(arguments.get("n") or 1), cell.runtime.conversations
    turns = next((each.turns for each in conversations.threads() if each.name == MAIN_THREAD), 0)
    if turns and count > turns:
        verb = "is" if turns == 1 else "are"
        raise UsageError(
            f"There {verb} only {counted(turns, 'turn')} to take back, not {count}. Nothing has changed."
        )
    taken = conversations.undo(count)
    if not taken:
        cell.front_end.say("There are no turns to take back.")
        return
    what = (
        f"“{excerpt(taken[0].prompt, _EXCERPT_CHARS)}”" if len(taken) == 1 else f"The last {len(taken)} turns"
    )
    back = f"%claude switch {conversations.number_of(taken[0])} brings {'it' if len(taken) == 1 else 'them'} back"
    cell.front_end.say(f"{what} {'is' if len(taken) == 1 else 'are'} taken back: {back}.")


def switch(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Continue a thread from a turn of the history.

    Raises:
        ConfigurationError: There is no such turn.
        UsageError: An answer of its thread is in flight.
    """
    number, conversations = int(arguments["n"]), cell.runtime.conversations
    turn = conversations.turn(number)
    _check_no_reply_in_flight(cell, [turn.thread])
    _, previous = conversations.switch(number)
    if previous == number:
        cell.front_end.say(f"{turn.thread} already ends at turn {number}.")
        return
    back = f" %claude switch {previous} goes back to where it was." if previous else ""
    cell.front_end.say(
        f"{turn.thread} continues from turn {number}, “{excerpt(turn.prompt, _EXCERPT_CHARS)}”.{back}"
    )


def _check_no_reply_in_flight(cell: Cell, threads: Iterable[str]) -> None:
    """Check that no reply in these threads is in flight: it would move the end of its thread again.

    Raises:
        UsageError: A reply is in flight.
    """
    moved = {*threads}
    name = next((reply.thread for reply in cell.runtime.in_flight() if reply.thread in moved), None)
    if name is not None:
        raise UsageError(
            f"An answer of the thread {name} is in flight, and the thread will continue from it. Wait for it, or stop it with "
            "%claude stop. Nothing has changed."
        )


def clear(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Delete a thread."""
    cleared = cell.runtime.conversations.clear(arguments.get("thread"))
    if not (cleared.forgotten or cleared.kept):
        cell.front_end.say("There are no turns to delete.")
        return
    sentences = [f"Deleted: {counted(cleared.forgotten, 'turn')}."]
    if cleared.kept:
        sentences.append(f"Kept, because other threads continue from there: {counted(cleared.kept, 'turn')}.")
    cell.front_end.say(" ".join(sentences))


def save(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Write all threads to a file.

    Raises:
        ConfigurationError: The file cannot be written, or contains something else.
    """
    path = Path(arguments["file"])
    forest = cell.runtime.conversations.forest()
    size = save_forest(forest, path)
    cell.front_end.say(
        f"Saved: {counted(len(forest.turns), 'turn')} in {counted(len(forest.threads), 'thread')}, {size / 1000:,.1f} kB, to {path}."
    )


def load(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Read threads from a file, and continue them where they end.

    Raises:
        ConfigurationError: The file cannot be read, or contains something else. Nothing has changed.
        UsageError: An answer of one of these threads is in flight.
    """
    name = arguments["file"]
    path = notebook_path(cell.shell, may_search=True) if name == THIS_NOTEBOOK else Path(name)
    if path is None:
        raise ConfigurationError(
            "The kernel cannot find the file of this notebook: it is not saved, was renamed since the kernel start, or "
            "is on another machine. Save it, and name it: %claude load FILE.ipynb. Nothing has changed."
        )
    if path.suffix.lower() == ".ipynb":
        _load_notebook(cell, path)
        return
    forest = load_forest(path)
    _check_no_reply_in_flight(cell, forest.threads)
    cell.runtime.conversations.adopt(forest)
    names = ", ".join(name for name, thread in forest.threads.items() if thread.head is not None)
    cell.front_end.say(
        f"Loaded: {counted(len(forest.turns), 'turn')}. These threads continue where they were saved: {names or 'none'}."
    )
    for line in _notes_on_renamed_threads(forest):
        cell.front_end.say(line)


def _load_notebook(cell: Cell, path: Path) -> None:
    """Restore the threads from the answers saved in a notebook, and continue them where they end.

    Raises:
        ConfigurationError: The notebook cannot be read, or contains no such answers. Nothing has changed.
        UsageError: An answer of one of these threads is in flight.
    """
    conversations = cell.runtime.conversations
    before = conversations.forest()
    document = read_notebook(path)
    restored = restore(document, prompt_of=prompt_of, known=before.turns)
    turns = restored.forest.turns
    if not turns:
        left = " ".join(restored.notes)
        raise ConfigurationError(
            f"The saved {path.name} has no answers that can be brought back.{f' {left}' if left else ''} Save the notebook, "
            "and load it again. Nothing has changed."
        )
    _check_no_reply_in_flight(cell, restored.forest.threads)
    conversations.adopt(restored.forest, forgets_cells=True)
    saved_at = time.strftime("%H:%M", time.localtime(path.expanduser().stat().st_mtime))
    now = conversations.forest()
    last = next(now.path(now.threads[MAIN_THREAD].head), None)
    ends = "" if last is None else f" {MAIN_THREAD} continues after “{excerpt(last.prompt, _EXCERPT_CHARS)}”."
    lines = [
        f"Loaded from {path.name}, as saved at {saved_at}: {counted(len(turns), 'turn')} in {', '.join(restored.forest.threads)}.{ends}",
        *restored.notes,
        *_notes_on_renamed_threads(restored.forest),
        *_notes_on_moved_threads(before, now),
    ]
    for line in lines:
        cell.front_end.say(line)


def _notes_on_renamed_threads(forest: Forest) -> Iterator[str]:
    for name, new in forest.renamed.items():
        yield f"The thread {excerpt(name, _EXCERPT_CHARS)!r} is called {new} here: a name is {THREAD_NAME}."


def _notes_on_moved_threads(before: Forest, now: Forest) -> Iterator[str]:
    """Yield, for each thread that has moved, a note on how to go back to its previous end."""
    for name, thread in before.threads.items():
        head = thread.head
        if head is not None and all(turn.id != head for turn in now.path(now.threads[name].head)):
            number = before.numbers[head]
            yield f"{name} ended at turn {number} before: %claude switch {number} goes back there."


def _row(summary: ThreadSummary) -> Row:
    head = summary.head
    if head is None:
        return summary.name, "0", "", ""
    return summary.name, str(summary.turns), f"{head.context_tokens:,}", excerpt(head.prompt, _EXCERPT_CHARS)


_JOB_COLUMNS = ("job", "state", "price", "seconds", "asked in", "question", "model")
_JOB_NUMBERS = (0, 2, 3)
_QUESTION_CHARS = 40
_STATE_CHARS = 70
"""Maximum length of a state; the cell that asked shows the whole error."""
_MOST_LISTED = 5


def jobs(cell: Cell, _arguments: Mapping[str, str]) -> None:
    """List all replies in flight, and the last ones of background cells."""
    known = cell.runtime.jobs.all()
    if not known:
        cell.front_end.say("No replies are in flight, and no cell has used --bg.")
        return
    now = time.monotonic()
    bundle = render_rows(
        [("", [_job_row(job, now) for job in known])], columns=_JOB_COLUMNS, numbers=_JOB_NUMBERS
    )
    cell.front_end.show(bundle)


def stop(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Stop one job, or all; what has arrived stays. Without a number, stop the only job in flight.

    Raises:
        UsageError: There is no job with this number, or several are in flight and no number is given.
    """
    known, which = cell.runtime.jobs.all(), arguments.get("job", "")
    running = [job for job in known if not job.reply.done()]
    if which.isdecimal():
        named = [job for job in known if job.number == int(which)]
        if not named:
            raise UsageError(f"There is no job {which}. %claude jobs lists them. Nothing was stopped.")
        if named[0].reply.done():
            cell.front_end.say(f"Job {which} has already ended.")
            return
        running = named
    elif not running:
        cell.front_end.say("No replies are in flight, so nothing was stopped.")
        return
    elif which != "all" and len(running) > 1:
        raise UsageError(
            f"{len(running)} replies are in flight: {_list_jobs(running)}. Say which: %claude stop {running[-1].number}, or "
            "%claude stop all. Nothing was stopped."
        )
    for job in running:
        job.reply.cancel()
    cell.front_end.say(f"Stopped {_list_jobs(running)}. What had arrived is kept.")


def _job_row(job: Job, now: float) -> tuple[str, ...]:
    snapshot = job.reply.snapshot()
    if isinstance(snapshot, ReplySnapshot):
        state, price = excerpt(_describe_job(snapshot, now), _STATE_CHARS), describe_cost(snapshot)
    else:  # a map
        state = f"{snapshot.state}: {snapshot.done:,} of {snapshot.requests:,} requests"
        price = "" if snapshot.cost is None else format_usd(snapshot.cost)
    return (
        str(job.number),
        state,
        price,
        f"{snapshot.elapsed:.1f}",
        job.reply.origin,
        excerpt(job.reply.prompt, _QUESTION_CHARS),
        snapshot.model,
    )


def _describe_job(snapshot: ReplySnapshot, now: float) -> str:
    match snapshot.phase:
        case Phase.COMPLETE:
            return "done"
        case Phase.CANCELLED:
            return "stopped"
        case Phase.FAILED:
            error = snapshot.error
            return "failed" if error is None else f"failed: {type(error).__name__}: {error.message}"
    return describe_status(snapshot, now) or "streaming…"


def _list_jobs(jobs: Sequence[Job]) -> str:
    named = ", ".join(f"job {job.number} ({job.reply.origin})" for job in jobs[:_MOST_LISTED])
    return named if len(jobs) <= _MOST_LISTED else f"{named} and {len(jobs) - _MOST_LISTED} more"


NO_WIDGETS = (
    "A panel needs widgets, which a terminal cannot show. Open a notebook (JupyterLab, Notebook 7, VS Code), "
    "or ask here: %claude and your question."
)


def render_status(status: RuntimeStatus) -> Bundle:
    """Render the status of a runtime as tables, in HTML and in plain text."""
    return render_rows(
        [
            ("Client", list(_client_rows(status))),
            ("Limiter", list(limiter_rows(status.limiter))),
            ("Settings", [(row.name, row.value, row.source) for row in status.settings]),
        ],
        notes=status.notes,
    )


def _client_rows(status: RuntimeStatus) -> Iterator[Row]:
    yield "answers come from", status.base_url
    yield "credential", status.credential or "none"
    yield "connection", "open" if status.is_running else "opens with the first request"
    yield "in flight", str(status.in_flight)
    if status.last_error is not None:
        yield "last error", status.last_error


def status(cell: Cell, _arguments: Mapping[str, str]) -> None:
    """Show the client, the limiter, and every setting with its source."""
    cell.front_end.show(render_status(cell.runtime.status()))


def login(cell: Cell, _arguments: Mapping[str, str]) -> None:
    """Ask for an API key, and use it from now on.

    Raises:
        UsageError: The front end cannot ask for input.
    """
    runtime = cell.runtime
    try:
        with interruptible_read():
            key = getpass.getpass("Anthropic API key (stays in this kernel's memory): ")
    except NotImplementedError:  # raised by a kernel whose front end cannot ask for input
        raise UsageError(
            "This front end cannot ask for input, so it cannot ask for a key. Set ANTHROPIC_API_KEY where Jupyter "
            "starts, then restart the kernel."
        ) from None
    except EOFError:  # Ctrl-D
        key = ""
    if not key.strip():
        print(
            "No key was entered; nothing has changed. Without a key, %claude demo on lets a simulator answer."
        )
        return
    runtime.login(key)
    print("Logged in, until this kernel ends or %claude logout.")


def logout(cell: Cell, _arguments: Mapping[str, str]) -> None:
    """Delete the entered key."""
    is_entered = cell.runtime.logout()
    print(
        "The entered key is deleted. %claude status shows whether another one is configured."
        if is_entered
        else "No key was entered with %claude login. %claude status shows where the key comes from."
    )


def demo(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Turn the simulator on or off."""
    if arguments["state"] == "on":
        cell.runtime.demo_on()
        print("The simulator answers from now on, not Claude. Switch back with %claude demo off.")
    else:
        cell.runtime.demo_off()
        print("The simulator no longer answers.")


def panel(cell: Cell, arguments: Mapping[str, str]) -> None:
    """Show a panel in the running cell.

    Raises:
        ConfigurationError: There is no kernel, so nothing can show widgets, or a setting is not valid.
    """
    if not cell.front_end.has_kernel:
        raise ConfigurationError(NO_WIDGETS)
    cell.runtime  # noqa: B018  (this applies the settings of `%config`)
    from ..panels import PromptPanel  # late: this imports ipywidgets

    display(PromptPanel(thread=arguments.get("thread")))
