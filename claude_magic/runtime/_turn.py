"""Plans and runs turns on the bridge: sends requests, passes events to the reply, runs tool calls, and always ends the reply.

A turn is one question with all the requests needed to answer it: several if the model calls tools, or if the server pauses
the turn. Each request repeats the messages so far, unchanged and in order.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from ..client import (
    THINKING_TYPES,
    ClaudeClient,
    ClaudeError,
    ClientEvent,
    ConfigurationError,
    InvalidRequestError,
    Message,
    MessageRequest,
    NotFoundError,
    ReplyStream,
    ToolUseBlock,
    mended,
)
from ..context import CHARS_PER_TOKEN
from ..conversation import CUT_SHORT, Conversations, Place, Turn, fingerprint_of
from ..tools import CallState, ToolExecutor, ToolResult
from ._accountant import TurnAccountant
from ._bridge import ClientContext
from ._budget import BudgetExceededError
from ._models import ModelNames, facts_of, table_id
from ._progress import Progress, ReplySnapshot
from ._reply import Reply, ended
from ._requests import (
    FROM_PANEL,
    History,
    Question,
    check_no_key,
    check_prompt,
    make_request,
)
from ._settings import ResolvedSettings

# Closing a turn for the history of later requests.
#
# The API rejects a history with a tool call without a result, a reply that ends in thinking, or a reply without content.
# So every turn is closed before it is kept, however it ended.
Turns = list[dict[str, Any]]


def closed_turn(messages: Sequence[Mapping[str, Any]], reason: str) -> Turns | None:
    """Return the messages of a turn in a form that the API accepts as history; None if there is no answer.

    Args:
        messages: The user's message, and the replies and tool results after it.
        reason: The text for missing tool results.
    """
    kept = _without_pending_calls([dict(message) for message in messages])
    while kept and kept[-1]["role"] == "assistant" and not _is_valid_end(kept[-1]):
        kept.pop()
    if all(message["role"] == "user" for message in kept):
        return None
    if unanswered := _unanswered_calls(kept[-1]):
        refused = [ToolResult(tool_use_id=call_id, content=reason, is_error=True) for call_id in unanswered]
        kept.append(_results(refused))
    return kept


def returned(message: Message) -> dict[str, Any]:
    """Return a complete reply as sent back to the API: unchanged, except for what it rejects.

    It rejects blank text, malformed calls and blocks without a type.
    """
    content = [
        block.to_param()
        for block in message.content
        if block.has_type and (block.type != "tool_use" or isinstance(block, ToolUseBlock))
    ]
    return {"role": message.role, "content": [block for block in content if not _is_blank(block)]}


def with_distinct_calls(message: Message, taken: Set[str]) -> Message:
    """Return a reply whose tool calls have unique ids, in the reply and in the conversation.

    Some servers give two calls the same id, count from the same number in each reply, or give no ids. Each call needs its
    own result, and the API rejects a history in which two calls have the same id.

    Args:
        message: The reply.
        taken: The ids of earlier calls.
    """
    used = set(taken)
    # All calls may have the same id, so the search for a free number continues where the last one ended.
    numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(2))
    numbers[""] = itertools.count(1)
    content = []
    for block in message.content:
        if isinstance(block, ToolUseBlock) and block.type == "tool_use":
            if not block.id or block.id in used:
                numbered = (f"{block.id or 'toolu'}_{number}" for number in numbers[block.id])
                block = block.model_copy(update={"id": next(each for each in numbered if each not in used)})
            used.add(block.id)
        content.append(block)
    return message.model_copy(update={"content": content})


def call_ids(messages: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the ids of all tool calls in messages."""
    contents = [message["content"] for message in messages if not isinstance(message["content"], str)]
    return {
        str(block.get("id")) for content in contents for block in content if block.get("type") == "tool_use"
    }


def closed_reply(message: Message) -> dict[str, Any] | None:
    """Return the part of an incomplete reply that may be kept (its text and complete blocks), or None."""
    param = message.to_partial_param()
    if param is None:
        return None
    content = list(param["content"])
    while content and content[-1].get("type") in THINKING_TYPES:
        content.pop()
    return {**param, "content": content} if content else None


def _results(results: Iterable[ToolResult]) -> dict[str, Any]:
    """Return the user message with the results of calls."""
    return {"role": "user", "content": [result.to_param() for result in results]}


def _without_pending_calls(messages: Turns) -> Turns:
    """Drop server tool calls without a result, which would have come with the next reply.

    Only the last reply is changed: earlier ones were followed by their results, and thinking is bound to their exact content.
    """
    *earlier, last = messages
    if last["role"] != "assistant":
        return messages
    answered = {block.get("tool_use_id") for block in last["content"]}
    content = [block for block in last["content"] if not _is_pending(block, answered)]
    return [*earlier, {**last, "content": content}]


def _is_pending(block: Mapping[str, Any], answered: set[object]) -> bool:
    kind = str(block.get("type"))
    return kind.endswith("_tool_use") and block.get("id") not in answered


def _is_valid_end(message: Mapping[str, Any]) -> bool:
    content = message["content"]
    return bool(content) and content[-1].get("type") not in THINKING_TYPES


def _is_blank(block: Mapping[str, Any]) -> bool:
    return block.get("type") == "text" and not str(block.get("text", "")).strip()


def _unanswered_calls(message: Mapping[str, Any]) -> list[str]:
    if message["role"] != "assistant":
        return []
    return [str(block["id"]) for block in message["content"] if block.get("type") == "tool_use"]


_FULL_WARNING_SHARE = 0.8
_MAX_TRUNCATED = 50
"""Maximum number of truncated turns whose settings are remembered."""


class ContextFullError(ConfigurationError):
    """Raised when the conversation no longer fits into the model's context window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPlan:
    """The plan of a turn.

    Attributes:
        question: The question.
        settings: The settings in force; their model may be a short name.
        place: Place in the conversations; None for a standalone question.
        request: The first request.
        notes: Sentences for the reader.
        fingerprint: Hash of the system prompt and the tools, which the model's thinking is bound to.
        asked_with: The question with which to request the rest of the answer, if it is truncated.
    """

    question: Question
    settings: ResolvedSettings
    place: Place | None
    request: MessageRequest
    notes: tuple[str, ...]
    fingerprint: str
    asked_with: Question

    @property
    def thread(self) -> str | None:
        """The thread of the turn; None for a standalone question."""
        return None if self.place is None else self.place.thread


class TurnPlanner:
    """Plans turns, and adds them to the conversations when they have ended.

    Args:
        conversations: The conversations.
        names: Resolves short names of models.
    """

    def __init__(self, conversations: Conversations, names: ModelNames) -> None:
        self._conversations = conversations
        self._names = names
        self._truncated: dict[str, Question] = {}

    def plan(self, question: Question, settings: ResolvedSettings) -> TurnPlan:
        """Plan a turn without asking the server.

        Raises:
            ConfigurationError: The question cannot be sent.
        """
        check_prompt(question)
        check_no_key(question, settings.values.system)
        # Lone surrogates, as in broken files, are sent as U+FFFD. The stored prompt shows the same.
        question = replace(question, prompt=mended(question.prompt), content=mended(question.content))
        model = settings.values.model
        return self._plan(question, settings, self._place(question), table_id(model) or model)

    def renew(self, plan: TurnPlan) -> TurnPlan:
        """Return the plan if its place has not changed; else a new one.

        Raises:
            ConfigurationError: The question cannot be sent at the new place.
        """
        if plan.place is None or self._place(plan.question) == plan.place:
            return plan
        return self.plan(plan.question, plan.settings)

    async def resolve(self, client: ClaudeClient, plan: TurnPlan) -> TurnPlan:
        """Return the plan with the short name of its model resolved by this server."""
        model = await self._names.resolve(client, plan.settings.values.model)
        if model == plan.request.model:
            return plan
        return self._plan(plan.question, plan.settings, plan.place, model)

    def explain(self, error: ClaudeError, model: str) -> None:
        """Add a suggestion to the error of a request if it is about an unknown model."""
        is_about_model = (
            isinstance(error, InvalidRequestError | BudgetExceededError) and model in error.message
        )
        if is_about_model or isinstance(error, NotFoundError):
            self._names.explain(error, model)

    def keep(
        self,
        plan: TurnPlan,
        messages: Sequence[dict[str, Any]],
        reply: ReplySnapshot,
        *,
        is_partial: bool,
        last: Message | None,
    ) -> Turn | None:
        """Add a turn to the conversation and return it; None if it is standalone.

        Args:
            plan: The plan of the turn.
            messages: Its messages in a form that the API accepts as history.
            reply: The reply, for the usage of all requests. If it was recorded, its key determines the id of the turn, so that the
                id is the same in each run.
            is_partial: Whether the answer is incomplete.
            last: The last message, for the model and the size of the context; None if there is none.
        """
        if plan.place is None:
            return None
        turn = self._conversations.add(
            plan.place,
            prompt=plan.question.prompt,
            messages=messages,
            model=(last.model if last is not None else "") or plan.request.model,
            fingerprint=plan.fingerprint,
            is_partial=is_partial,
            usage=None if reply.usage is None else reply.usage.model_dump(mode="json", exclude_none=True),
            name=reply.recorded[0].key if reply.recorded else None,
            context_tokens=0 if last is None else last.usage.context_tokens,
        )
        if is_partial:
            self._truncated[turn.id] = plan.asked_with
            for oldest in [*self._truncated][:-_MAX_TRUNCATED]:
                del self._truncated[oldest]
        return turn

    def asked_with(self, turn: Turn) -> Question:
        """Return the question with which to request the rest of a truncated turn; with only the model if the turn comes from a file."""
        return self._truncated.get(turn.id) or Question(prompt="", settings={"model": turn.model or None})

    def _place(self, question: Question) -> Place | None:
        where = question.where
        if where is None:
            return None
        return self._conversations.place(
            thread=where.thread, cell=where.cell, is_new=where.is_new, is_side_branch=where.is_side_branch
        )

    def _plan(
        self, question: Question, settings: ResolvedSettings, place: Place | None, model: str
    ) -> TurnPlan:
        fingerprint = fingerprint_of(settings.values.system, question.tool_definitions(model))
        notes = [*question.notes, *(() if question.tools is None else question.tools.toolbox.notes)]
        history = History()
        if place is not None:
            history = History(
                messages=self._conversations.messages(place),
                is_rebound=self._conversations.is_rebound(place, fingerprint),
            )
            notes += self._place_notes(place, question, model)
        request, changes = make_request(question, settings, history, model=model)
        return TurnPlan(
            question=question,
            settings=settings,
            place=place,
            request=request,
            notes=(*notes, *changes),
            fingerprint=fingerprint,
            asked_with=question.to_continue(settings, model),
        )

    def _place_notes(self, place: Place, question: Question, model: str) -> list[str]:
        notes = _branch_notes(place)
        parent = self._conversations.parent_turn(place)
        if parent is not None:
            notes += _context_notes(parent, question, model)
        return notes


def _branch_notes(place: Place) -> list[str]:
    """Return notes about turns that are no longer part of the conversation, because the cell was run again."""
    behind, aside = place.left_behind, place.left_aside
    notes = []
    if behind:
        turns = "1 later turn is" if behind == 1 else f"{behind} later turns are"
        kept = "it is kept" if behind == 1 else "they are kept"
        notes.append(f"{turns} no longer sent; {kept}: `%claude switch {place.left_head}` goes back")
    if aside:
        turns = "1 turn is" if aside == 1 else f"{aside} turns are"
        notes.append(
            f"{turns} not part of this conversation, because the cell was run again and continues its earlier branch: "
            f"`%claude switch {place.left_head}` goes back"
        )
    return notes


def _context_notes(parent: Turn, question: Question, model: str) -> list[str]:
    """Return a note if the conversation is close to the model's context window.

    Raises:
        ContextFullError: The conversation no longer fits.
    """
    facts = facts_of(model)
    if facts is None or not parent.context_tokens:
        return []
    tokens = parent.context_tokens + round(question.text_length / CHARS_PER_TOKEN)
    alone = "; --no-history asks without it"
    remedies = "--new starts a conversation, --thread another one, %claude undo takes the last turn back"
    if question.origin == FROM_PANEL:
        alone, remedies = "", "Clear starts a conversation, Thread in the settings chooses another one"
    if parent.context_tokens >= facts.context_window:
        raise ContextFullError(
            f"This thread has {parent.context_tokens:,} tokens, and {model} takes {facts.context_window:,}, so nothing "
            f"was sent. {remedies}{alone}."
        )
    if tokens < _FULL_WARNING_SHARE * facts.context_window:
        return []
    return [f"This thread fills about {tokens / facts.context_window:.0%} of {model}'s context. {remedies}."]


MAX_TOOL_ROUNDS = 25
"""Maximum number of rounds of tool calls in one turn, because a model may repeat calls forever."""
MAX_PAUSES = 10
"""Maximum number of times that a paused turn is resumed."""

_INTERRUPTED = "The user interrupted this before there was a result."
_CUT = "This call was not made: the reply that asked for it was cut short."

logger = logging.getLogger("claude_magic.runtime")


class TurnRun:
    """Runs one turn.

    Args:
        plan: The plan of the turn.
        progress: The progress of the reply.
        planner: Resolves short names of models, and adds the turn to the conversation.
        accountant: Admits and books each request.
    """

    def __init__(
        self,
        plan: TurnPlan,
        progress: Progress,
        *,
        planner: TurnPlanner,
        accountant: TurnAccountant,
    ) -> None:
        self._plan = plan
        self._progress = progress
        self._planner = planner
        self._accountant = accountant
        self._tools = plan.question.tools
        self._turn: Turns = [plan.request.messages[-1]]
        self._stream: ReplyStream | None = None

    async def run(self, lent: ClientContext, before: Iterable[Reply] = ()) -> None:
        """Stream the reply into its progress, and end it as complete, failed or cancelled.

        Args:
            lent: Lends the client; entered once the replies in `before` have ended.
            before: Replies in flight of the same conversation, whose turns come first.
        """
        progress = self._progress
        try:
            await self._wait_for_turn(before)
            async with lent as client:
                self._plan = await self._planner.resolve(client, self._plan)
                message = await self._answer(client)
            self._keep_turn(_CUT, last=message, is_partial=message.stop_reason in CUT_SHORT)
            progress.complete()
        except asyncio.CancelledError:
            partial = self._keep_partial(_received(self._stream), _INTERRUPTED)
            progress.cancel(partial)
        except ClaudeError as error:
            partial = self._keep_partial(error.partial or _received(self._stream), _CUT)
            self._planner.explain(error, self._plan.request.model)
            # The traceback is cleared, because its frames would keep the request and its prompt alive.
            progress.fail(error.with_traceback(None), partial)

    async def _wait_for_turn(self, before: Iterable[Reply]) -> None:
        """Wait for the answers that this turn continues from, and plan it again if its place has changed.

        Raises:
            ConfigurationError: The question cannot be sent at the new place.
        """
        for reply in before:
            if not reply.done():
                self._progress.wait_for_turn()
                await ended(reply)
        plan = self._planner.renew(self._plan)
        if plan is not self._plan:
            self._plan = plan
            self._turn = [plan.request.messages[-1]]
            for note in plan.notes:
                self._progress.add_note(note)

    async def _answer(self, client: ClaudeClient) -> Message:
        """Send as many requests as needed, and return the last reply."""
        rounds = pauses = 0
        while True:
            message = await self._round(client)
            if message.stop_reason == "pause_turn" and pauses < MAX_PAUSES:
                pauses += 1
            elif message.stop_reason == "tool_use" and message.tool_uses and self._tools is not None:
                if rounds == MAX_TOOL_ROUNDS:
                    self._progress.add_note(
                        f"Stopped after {MAX_TOOL_ROUNDS} rounds of tool calls. Ask it to continue if needed."
                    )
                    return message
                rounds += 1
                await self._call_tools(self._tools, message.tool_uses)
            else:
                return message

    async def _round(self, client: ClaudeClient) -> Message:
        """Send the messages so far, and add the reply to the turn."""
        first = self._plan.request
        request = first.model_copy(update={"messages": [*first.messages[:-1], *self._turn]})
        await self._accountant.admit(client, request)
        try:
            self._stream = client.stream_message(request, observer=self._on_event)
            async with self._stream as stream:
                async for event in stream:
                    self._progress.feed(event, stream.accumulator)
            message = self._with_unique_calls(stream.message)
        finally:
            self._accountant.finish(lambda: _received(self._stream))
            self._progress.set_asked(self._accountant.record)
        self._stream = None
        self._turn.append(returned(message))
        self._progress.end_round(message)
        return message

    def _with_unique_calls(self, message: Message) -> Message:
        """Return a reply whose calls have ids that are unique in the conversation."""
        return with_distinct_calls(message, call_ids((*self._plan.request.messages[:-1], *self._turn)))

    def _on_event(self, event: ClientEvent) -> None:
        self._accountant.on_event(event)
        self._progress.on_event(event)

    async def _call_tools(self, tools: ToolExecutor, calls: list[ToolUseBlock]) -> None:
        """Run the calls of a reply, one after the other, and add their results to the turn.

        Each call gets a result in any case, because the API rejects a history with a missing one.
        """
        results = {
            call.id: ToolResult(tool_use_id=call.id, content=_INTERRUPTED, is_error=True) for call in calls
        }
        try:
            for call in calls:
                results[call.id] = await self._call(tools, call)
        finally:
            self._turn.append(_results(results[call.id] for call in calls))

    async def _call(self, tools: ToolExecutor, call: ToolUseBlock) -> ToolResult:
        def report(state: CallState, text: str = "") -> None:
            self._progress.set_call(call.id, state, text)

        report(CallState.WRITTEN)  # the executor may not report a state for a while
        try:
            result = await asyncio.wrap_future(tools.submit(call, report))
        except asyncio.CancelledError:
            report(CallState.INTERRUPTED)
            raise
        report(result.state, result.text)
        if result.note:
            self._progress.add_note(result.note)
        return result

    def _keep_partial(self, partial: Message | None, reason: str) -> Message | None:
        """Keep the incomplete turn, and return the partial reply."""
        partial = None if partial is None else self._with_unique_calls(partial)
        if partial is not None and (param := closed_reply(partial)) is not None:
            self._turn.append(param)
        self._keep_turn(reason, last=partial, is_partial=True)
        return partial

    def _keep_turn(self, reason: str, *, last: Message | None, is_partial: bool) -> None:
        if (messages := closed_turn(self._turn, reason)) is not None:
            reply = self._progress.snapshot()
            turn = self._planner.keep(self._plan, messages, reply, is_partial=is_partial, last=last)
            self._progress.set_turn(turn)


def ensure_final(progress: Progress, task: asyncio.Task[None], redact: Callable[[str], str]) -> None:
    """End a reply whose run did not: it was cancelled before its first step, or stopped by a bug.

    Args:
        progress: The progress of the reply; nothing happens if it is final already.
        task: The task of the run, which has ended.
        redact: Removes the key from text.
    """
    failure = None if task.cancelled() else task.exception()
    if failure is None:
        progress.cancel(None)
        return
    logger.error("A reply failed unexpectedly:\n%s", redact("".join(traceback.format_exception(failure))))
    text = redact(f"{type(failure).__name__}: {failure}")
    fault = ClaudeError(f"The reply failed because of a bug in claude_magic ({text}). Please report it.")
    progress.fail(fault, None)


def _received(stream: ReplyStream | None) -> Message | None:
    """Return the reply received so far, or None."""
    if stream is None:
        return None
    message = stream.message
    return message if message.id or message.content else None
