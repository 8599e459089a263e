"""Makes the question of a parsed line: the prompt with its values, attachments, schema and tools."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..client import ConfigurationError, as_sentence
from ..context import (
    Collected,
    attach,
    closest_name,
    collect_cells,
    content_of,
    decode_file,
    describe_error,
    describe_name,
    exposed_in,
    interpolate,
    join,
    notes_on,
    parse_cell_range,
    refusal,
)
from ..conversation import MAIN_THREAD
from ..display import keeps_displays
from ..runtime import QUESTION_FIELDS, Phase, Question, Reply, Where
from ..schema import make_output_schema
from ..tools import LoopExecutor, Toolbox, ToolExecutor, TypedApproval, WaitingExecutor
from ._line import Line
from ._notebook_file import answers_above
from ._options import Options
from ._shell import cells_of

if TYPE_CHECKING:
    from ._cell import Cell

_MAX_SYSTEM_BYTES: Final = 2**20
"""Maximum size of a system prompt file; more than fits into any model's context."""
_MAX_SEARCHES: Final = 5
"""Maximum number of web searches per question; each costs one cent."""


_FIX = (
    "A cell of my notebook failed. First explain in a few sentences why. Then give the corrected cell, whole, as one "
    "Python code block and no other code.\n\n"
)
_FIX_MAGIC = (
    "A cell of my notebook failed, which begins with a magic. First explain in a few sentences why. Then give the corrected cell, "
    "whole and with its magic, as one Python code block and no other code.\n\n"
)
_FIX_BETWEEN = (
    "Something in my notebook failed between two cells. First explain in a few sentences why. Then give the corrected code as one "
    "Python code block and no other code.\n\n"
)
_EXPLAIN = "Explain `{name}` from my notebook: what it is, and what stands out. It is this:\n\n"
_TAIL_CHARS: Final = 200
_CONTINUE = (
    "Your last answer was cut off before its end. Go on exactly where it stopped, in the middle of the word if need be: "
    "repeat nothing, and add no preamble. If a space or a line break comes next, begin with it. It stopped with:\n\n{tail}"
)
_CONTINUE_EMPTY = "You were interrupted before the first word of your answer. Go on."
_CONTINUE_ALONE = (
    "I asked you this:\n\n<question>\n{question}\n</question>\n\nYour answer was cut off. This is what arrived:\n\n"
    "<answer>\n{text}\n</answer>\n\nGo on exactly where it stopped, in the middle of the word if need be: repeat nothing, and "
    "add no preamble. If a space or a line break comes next, begin with it."
)


def prepare(line: Line, cell: Cell) -> tuple[Line, Question]:
    """Return the question of a cell, and its line with the options that its subcommand adds.

    Raises:
        ConfigurationError: Something that the line names does not exist, or cannot be sent. Nothing was sent.
    """
    if line.call is not None:
        asked: tuple[Line, Question] = line.call.command.load()(line, cell)
        return asked
    values = None
    if line.options.interact:  # a dry run: it shows the request for the first state of the controls
        from ._controls import first_values  # late: this imports ipywidgets

        values = first_values(line, cell)
    return line, ask_prompt(line, cell, collect_attachments(line.options, cell), values)


def ask_prompt(
    line: Line, cell: Cell, attachments: Sequence[Collected], values: Mapping[str, object] | None = None
) -> Question:
    """Return the question of a prompt that was typed in a cell, also for `--compare`, `--interact` and `--bg`.

    Subcommands that ask (`fix`) make theirs in `_ask_about`, maps in `_map_request` of `_map.py`.

    Args:
        line: The line, with its prompt as typed.
        cell: The cell that asks.
        attachments: Content to send before the prompt.
        values: Values by name, which take precedence over the user's variables.

    Raises:
        ConfigurationError: The prompt names something that cannot be sent.
    """
    prompt = line.prompt
    if "{{" not in prompt or line.options.raw:
        words = Collected(parts=(prompt,))
    else:
        try:
            words = interpolate(prompt, {**cell.names(), **(values or {})} if values else cell.names())
        except ConfigurationError as error:
            error.replace_message(f"{error.message} --raw sends it as typed.")
            raise
    return make_question(line, cell, prompt, [*attachments, words])


def fix(line: Line, cell: Cell) -> tuple[Line, Question]:
    """Return the question about the last error, with the option that inserts the corrected cell.

    Raises:
        ConfigurationError: No cell has failed with an error of its code.
    """
    errors = cell.errors
    if not errors:
        last = errors.shown_since
        others = f"The {last} that was shown last does not come from the code of a cell. " if last else ""
        raise ConfigurationError(
            f"No cell has failed with an error of your code, so there is nothing to fix. {others}Nothing was sent."
        )
    record = errors[-1]
    collected = describe_error(record)
    if errors.shown_since:
        note = f"This is about the {record.name} before the {errors.shown_since} that was shown last, which does not come from the code of a cell."
        collected = dataclasses.replace(collected, notes=(*collected.notes, note))
    line = line.with_options(insert_code=True)
    return line, _ask_about(line, cell, "fix", _opening(record.source), collected)


def explain(line: Line, cell: Cell) -> tuple[Line, Question]:
    """Return the question about one of the user's variables, functions, classes or modules.

    Raises:
        ConfigurationError: It does not exist, or cannot be read.
    """
    name = "" if line.call is None else line.call.arguments["name"]
    opening = _EXPLAIN.format(name=name)
    return line, _ask_about(line, cell, f"explain {name}", opening, describe_name(name, cell.names()))


def continue_answer(line: Line, cell: Cell) -> tuple[Line, Question]:
    """Return the question for the rest of an answer cut off by `max_tokens`, an interrupt or a dropped connection.

    Current models do not accept a partial answer as a prefill. The documented way is to keep it in the conversation and ask for
    the rest in a new user message.

    Raises:
        ConfigurationError: There is no answer to continue.
    """
    runtime = cell.runtime
    last = runtime.last
    if line.options.thread is None and last is not None and last.thread is not None:
        line = line.with_options(thread=last.thread)
    place = runtime.conversations.place(thread=line.options.thread, cell=cell.next_key)
    parent = runtime.conversations.parent_turn(place)
    is_alone = line.options.no_history
    if parent is not None and parent.is_partial and not is_alone:
        before: Question | None = runtime.asked_with(parent)
        beginning = _answer_so_far(parent.answer_text, last)
        text = _CONTINUE.format(tail=beginning[-_TAIL_CHARS:]) if beginning.strip() else _CONTINUE_EMPTY
    elif last is not None and last.thread is None and _is_cut(last):
        before, beginning = last.asked_with, last.text
        text = _CONTINUE_ALONE.format(question=last.prompt, text=beginning)
        line = line.with_options(no_history=True)
    else:
        if is_alone and parent is not None and parent.is_partial:
            raise ConfigurationError(
                "The answer that was cut belongs to a conversation, and without it there is nothing to continue. Leave out --no-history. "
                "Nothing was sent."
            )
        head = runtime.conversations.parent_turn(runtime.conversations.place(thread=line.options.thread))
        raise ConfigurationError(
            _describe_nothing(last, is_last_turn_cut=head is not None and head.is_partial)
        )
    question = _ask_about(line, cell, "continue", text, Collected(parts=()), beginning=beginning)
    return line, question if before is None else _asked_as(before, question, line.options, cell)


def with_system_text(line: Line) -> Line:
    """Return a line in which a system prompt given as `@FILE` is replaced with the file's text.

    Raises:
        ConfigurationError: The file cannot be read, is empty, or contains what looks like credentials.
    """
    options = line.options
    if options.system is None or not options.system.startswith("@"):
        return line
    spec = options.system[1:]
    system, notes = _read_system(spec)
    if not system.strip():
        raise ConfigurationError(
            f"The system prompt {spec} is an empty file. Leave out -s to ask without one. Nothing was sent."
        )
    _check_exposure(exposed_in(system, f"The system prompt {spec}", Path(spec)), options)
    return line.with_options(system=system, notes=(*options.notes, *notes))


def collect_attachments(options: Options, cell: Cell) -> list[Collected]:
    """Return the content to send with a question, or with each row of a map: attachments, then cells.

    Raises:
        ConfigurationError: An attachment does not exist, cannot be sent, or contains what looks like credentials.
    """
    collected: list[Collected] = []
    for spec in options.attach:
        try:
            collected.append(attach(spec, cell.names()))
        except ConfigurationError as error:
            error.replace_message(f"-a {error.message}")
            raise
    if options.cells:
        collected.append(collect_cells(cells_of(cell.shell), parse_cell_range(options.cells)))
    _check_exposure(join(collected).exposed, options)
    return collected


def make_question(
    line: Line, cell: Cell, prompt: str, collected: Sequence[Collected], *, beginning: str = ""
) -> Question:
    """Return a question of a cell, or of each row of a map. The options of the line decide what is not an argument.

    Args:
        line: The line.
        cell: The cell that asks.
        prompt: The prompt as shown and kept; for a map, its template.
        collected: The content to send; for a map, what goes before each prompt.
        beginning: The truncated answer whose rest is requested.

    Raises:
        ConfigurationError: The content contains what looks like credentials, or the schema or a tool cannot be used.
    """
    options, whole = line.options, join(collected)
    _check_exposure(whole.exposed, options)
    names = cell.names() if options.schema or options.tools else {}
    schema = make_output_schema(options.schema, names) if options.schema else None
    return Question(
        prompt=prompt,
        content=content_of([each.parts for each in collected]) if collected else None,
        where=None if options.no_history else _where(options, cell),
        settings={name: getattr(options, name) for name in QUESTION_FIELDS},
        tools=_executor(Toolbox.named(options.tools, names), cell, is_asked=options.approve != "never")
        if options.tools
        else None,
        max_searches=_MAX_SEARCHES if options.web_search else 0,
        output_schema=schema,
        stop_sequences=options.stop or None,
        extra=options.extra,
        format=options.format or ("md" if schema is None else "json"),
        beginning=beginning,
        outlives_cell=options.background,
        origin=cell.name,
        notes=(
            *options.notes,
            *notes_on(collected),
            *_note_on_thread(options.thread, cell),
            *_note_on_answers_above(options, cell),
        ),
        redacted=whole.redacted,
        is_raw=options.raw,
    )


def _ask_about(
    line: Line, cell: Cell, prompt: str, opening: str, collected: Collected, *, beginning: str = ""
) -> Question:
    """Return the question of a subcommand, preceded by the attachments and cells of its options."""
    words = dataclasses.replace(collected, parts=(opening, *collected.parts))
    attachments = collect_attachments(line.options, cell)
    return make_question(line, cell, prompt, [*attachments, words], beginning=beginning)


def _where(options: Options, cell: Cell) -> Where:
    # A dry run asks nothing, so it must not use up the key.
    key = cell.next_key if options.dry_run else cell.key
    return Where(thread=options.thread, cell=key, is_new=options.is_new)


def _note_on_thread(name: str | None, cell: Cell) -> Iterator[str]:
    """Yield a note if the thread is new and its name is similar to that of an existing one."""
    known = [thread.name for thread in cell.runtime.conversations.threads()]
    guess = None if name is None or name in known else closest_name(name, known)
    if guess is not None:
        yield f"The thread {name} begins here. Did you mean {guess}? %claude threads lists them."


def _note_on_answers_above(options: Options, cell: Cell) -> Iterator[str]:
    """Yield a note with the first question of a thread if the notebook has answers above it from before this kernel started."""
    thread = options.thread or MAIN_THREAD
    if options.no_history or options.is_new or options.dry_run:
        return
    if not cell.record_asking_in(thread):
        return
    if any(summary.name == thread and summary.turns for summary in cell.runtime.conversations.threads()):
        return
    count = answers_above(cell.shell, thread)
    if count:
        are = "answer above is" if count == 1 else f"{count} answers above are"
        them = "it" if count == 1 else "them"
        yield (
            f"The {are} from before this kernel started, and not part of this conversation: `%claude load notebook` brings {them} back."
        )


def _check_exposure(exposed: tuple[str, ...], options: Options) -> None:
    """Reject what looks like credentials, unless `--raw` is given.

    Raises:
        ConfigurationError: There are such credentials.
    """
    if not exposed or options.raw:
        return
    has_braces = any(each.startswith("{{") for each in exposed)
    named = "-a NAME --raw, where NAME is a variable that holds it" if has_braces else "--raw"
    raise ConfigurationError(refusal(exposed, f"To send it as it is: {named}."))


def _read_system(spec: str) -> tuple[str, tuple[str, ...]]:
    """Return the system prompt of a file, and a note if its encoding was guessed.

    Raises:
        ConfigurationError: The file cannot be read, or is larger than `_MAX_SYSTEM_BYTES`.
    """
    path = Path(spec).expanduser()
    try:
        if path.exists() and not path.is_file():
            raise ValueError("that is a folder" if path.is_dir() else "that is a pipe, a socket or a device")
        with path.open("rb") as file:
            data = file.read(_MAX_SYSTEM_BYTES + 1)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"The system prompt {spec} cannot be read: {as_sentence(reason)} Nothing was sent."
        ) from None
    if len(data) > _MAX_SYSTEM_BYTES:
        raise ConfigurationError(
            f"The system prompt {spec} has more than {_MAX_SYSTEM_BYTES:,} bytes. Nothing was sent; attach it with -a."
        )
    return decode_file(data, spec)


def _opening(source: str) -> str:
    if not source.strip():
        return _FIX_BETWEEN
    return _FIX_MAGIC if source.lstrip().startswith(("%", "!")) else _FIX


def _answer_so_far(cut: str, last: Reply | None) -> str:
    """Return the answer from its beginning, including earlier parts if it has been continued before."""
    return last.text if last is not None and last.text.endswith(cut) else cut


def _is_cut(reply: Reply) -> bool:
    return _broke_off(reply) and bool(reply.text.strip())


def _broke_off(reply: Reply) -> bool:
    return reply.phase in (Phase.FAILED, Phase.CANCELLED) or reply.stop_reason == "max_tokens"


def _executor(toolbox: Toolbox, cell: Cell, *, is_asked: bool) -> ToolExecutor:
    """Return the executor of tools: on the event loop of an awaited cell, else on the thread that waits."""
    if not cell.is_awaited:
        return WaitingExecutor(
            toolbox, approve=TypedApproval().ask if is_asked else None, idle_loop=_loop_between_cells
        )
    context, task = contextvars.copy_context(), asyncio.current_task()
    context.run(keeps_displays.set, True)
    ask = cell.approval.ask if cell.front_end.runs_clicks else TypedApproval().ask_on_loop
    return LoopExecutor(
        toolbox,
        asyncio.get_running_loop(),
        context,
        approve=ask if is_asked else None,
        interrupt=(lambda: None) if task is None else task.cancel,
    )


def _asked_as(before: Question, question: Question, options: Options, cell: Cell) -> Question:
    """Return a question with the settings, tools, schema, format and fields of an earlier one, unless its own options set them."""
    kept = before.settings
    if options.model is not None:  # another model may not support the same effort and thinking
        kept = {name: kept.get(name) for name in ("system", "replay")}
    given = {name: value for name, value in question.settings.items() if value is not None}
    tools = question.tools
    if tools is None and before.tools is not None:
        is_asked = before.tools.is_asked if options.approve is None else options.approve != "never"
        tools = _executor(before.tools.toolbox, cell, is_asked=is_asked)
    return dataclasses.replace(
        question,
        settings={**kept, **given},
        tools=tools,
        max_searches=question.max_searches or before.max_searches,
        output_schema=question.output_schema or before.output_schema,
        stop_sequences=question.stop_sequences or before.stop_sequences,
        extra={**before.extra, **question.extra},
        format=question.format if options.format or options.schema else before.format,
        is_raw=question.is_raw or before.is_raw,
    )


def _describe_nothing(last: Reply | None, *, is_last_turn_cut: bool) -> str:
    if is_last_turn_cut:
        return (
            "The answer that was cut does not come before this cell: run again, a cell asks in place of its earlier question. "
            "Continue in a new cell."
        )
    if last is None:
        return "There is no answer to continue: nothing has been asked yet."
    if last.thread is not None and _is_cut(last):
        return "The answer that was cut is not part of the conversation any more: it was taken back, or the thread was cleared."
    if _broke_off(last):
        return "The last answer broke off before its first word, so there is nothing to continue. Ask again."
    return "There is no answer to continue: the last one is complete. Ask for more in your own words."


def _loop_between_cells() -> asyncio.AbstractEventLoop:
    """Return the event loop on which terminal IPython runs async cells, to which their objects are bound."""
    from IPython.core.async_helpers import get_asyncio_loop

    loop: asyncio.AbstractEventLoop = get_asyncio_loop()
    return loop
