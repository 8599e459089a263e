"""One turn's life on the bridge: send, feed what arrives to the reply, answer calls of tools, end whatever happens.

A turn is one question and all it takes to answer it: several requests where the model calls tools, or where the server
makes a pause in the middle of its own. What has been said so far is sent again with each, unchanged and in order.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager

from ..client import ClaudeClient, ClaudeError, ClientEvent, Message, MessageStream, ToolUseBlock
from ..tools import CallState, ToolExecutor, ToolResult
from ._accountant import TurnAccountant
from ._closing import Turns, call_ids, closed_reply, closed_turn, returned, with_distinct_calls
from ._progress import Progress
from ._reply import Reply, ended
from ._settings import ResolvedSettings
from ._turn_plan import TurnPlan, TurnPlanner

MAX_TOOL_ROUNDS = 25
"""Rounds of tool calls in one turn. A model that goes round in circles is stopped."""
MAX_PAUSES = 10
"""Times that a paused turn is resumed."""

_INTERRUPTED = "The user interrupted this before there was a result."
_CUT = "This call was not made: the reply that asked for it was cut short."

_CUT_SHORT = frozenset({"max_tokens", "model_context_window_exceeded", "pause_turn"})

logger = logging.getLogger("claude_magic.runtime")


class TurnExchange:
    """Answers one question.

    Args:
        plan: The turn.
        progress: What the reply shows.
        planner: Knows what short names of models mean, and takes the turn into the conversation.
        settings: The settings in force.
        accountant: Admits and books each request.
    """

    def __init__(
        self,
        plan: TurnPlan,
        progress: Progress,
        *,
        planner: TurnPlanner,
        settings: ResolvedSettings,
        accountant: TurnAccountant,
    ) -> None:
        self._plan = plan
        self._progress = progress
        self._planner = planner
        self._settings = settings
        self._accountant = accountant
        self._tools = plan.question.tools
        self._turn: Turns = [plan.request.messages[-1]]
        self._stream: MessageStream | None = None

    async def run(
        self, lending: AbstractAsyncContextManager[ClaudeClient], before: Iterable[Reply] = ()
    ) -> None:
        """Stream the reply into its progress, and end that as complete, failed or cancelled.

        Args:
            lending: Lends the client.
            before: Answers of the same conversation, on their way; their turns come first.
        """
        progress = self._progress
        try:
            await self._wait_for_turn(before)
            async with lending as client:
                self._plan = await self._planner.resolve(client, self._plan, self._settings)
                message = await self._answer(client)
            self._keep_turn(_CUT, last=message, is_partial=message.stop_reason in _CUT_SHORT)
            progress.complete()
        except asyncio.CancelledError:
            partial = self._break_off(_arrived(self._stream), _INTERRUPTED)
            progress.cancel(partial)
        except ClaudeError as error:
            partial = self._break_off(error.partial or _arrived(self._stream), _CUT)
            self._planner.explain(error, self._plan)
            # Frames hold the request and its prompt, and whoever keeps the error would keep them.
            progress.fail(error.with_traceback(None), partial)

    async def _wait_for_turn(self, before: Iterable[Reply]) -> None:
        """Wait for the answers that this turn goes on from, and plan it anew where it now has another place.

        Raises:
            ConfigurationError: It cannot be sent there.
        """
        for reply in before:
            if not reply.done():
                self._progress.wait_for_turn()
                await ended(reply)
        plan = self._planner.renew(self._plan, self._settings)
        if plan is not self._plan:
            self._plan = plan
            self._turn = [plan.request.messages[-1]]
            for note in plan.notes:
                self._progress.add_note(note)

    async def _answer(self, client: ClaudeClient) -> Message:
        """Send as many requests as it takes, and return the last reply."""
        rounds = pauses = 0
        while True:
            message = await self._round(client)
            if message.stop_reason == "pause_turn" and pauses < MAX_PAUSES:
                pauses += 1
            elif message.stop_reason == "tool_use" and message.tool_uses and self._tools is not None:
                if rounds == MAX_TOOL_ROUNDS:
                    self._progress.add_note(
                        f"Stopped after {MAX_TOOL_ROUNDS} rounds of tool calls. Ask it to go on, if it should."
                    )
                    return message
                rounds += 1
                await self._call_tools(self._tools, message.tool_uses)
            else:
                return message

    async def _round(self, client: ClaudeClient) -> Message:
        """Send what has been said so far, and take in the reply."""
        first = self._plan.request
        request = first.model_copy(update={"messages": [*first.messages[:-1], *self._turn]})
        await self._accountant.admit(client, request)
        try:
            self._stream = client.stream_message(request, observer=self._note)
            async with self._stream as stream:
                async for event in stream:
                    self._progress.feed(event)
            message = self._distinct(stream.message)
        finally:
            self._accountant.settle(lambda: _arrived(self._stream))
        self._stream = None
        self._turn.append(returned(message))
        self._progress.end_round(message)
        return message

    def _distinct(self, message: Message) -> Message:
        """Return a reply whose calls have ids that no other call of the conversation has."""
        return with_distinct_calls(message, call_ids((*self._plan.request.messages[:-1], *self._turn)))

    def _note(self, event: ClientEvent) -> None:
        self._accountant.note(event)
        self._progress.note(event)

    async def _call_tools(self, tools: ToolExecutor, calls: list[ToolUseBlock]) -> None:
        """Run the calls of a reply, one after the other, and add their results to the turn.

        Whatever happens there is a result for each, because a history in which one is missing is refused.
        """
        results = {
            call.id: ToolResult(tool_use_id=call.id, content=_INTERRUPTED, is_error=True) for call in calls
        }
        try:
            for call in calls:
                results[call.id] = await self._call(tools, call)
        finally:
            self._turn.append({"role": "user", "content": [results[call.id].to_param() for call in calls]})

    async def _call(self, tools: ToolExecutor, call: ToolUseBlock) -> ToolResult:
        def report(state: CallState, text: str = "") -> None:
            self._progress.note_call(call.id, state, text)

        report(CallState.WRITTEN)  # who runs it may have nothing to say for a while
        try:
            result = await asyncio.wrap_future(tools.submit(call, report))
        except asyncio.CancelledError:
            report(CallState.INTERRUPTED)
            raise
        report(result.state, result.text)
        if result.note:
            self._progress.add_note(result.note)
        return result

    def _break_off(self, partial: Message | None, reason: str) -> Message | None:
        """Keep what there is of a turn that broke off; return the partial reply."""
        partial = None if partial is None else self._distinct(partial)
        if partial is not None and (param := closed_reply(partial)) is not None:
            self._turn.append(param)
        self._keep_turn(reason, last=partial, is_partial=True)
        return partial

    def _keep_turn(self, reason: str, *, last: Message | None, is_partial: bool) -> None:
        if (messages := closed_turn(self._turn, reason)) is not None:
            usage = self._progress.snapshot().usage
            self._planner.keep(
                self._plan,
                messages,
                is_partial=is_partial,
                last=last,
                usage=None if usage is None else usage.model_dump(mode="json", exclude_none=True),
            )


def end_in_any_case(progress: Progress, task: asyncio.Task[None], redact: Callable[[str], str]) -> None:
    """End a reply whose exchange could not: it was cancelled before its first step, or a fault of ours broke it off.

    Args:
        progress: What the reply shows; if it is final already, nothing happens.
        task: The exchange, which has ended.
        redact: Removes the key from text.
    """
    failure = None if task.cancelled() else task.exception()
    if failure is None:
        progress.cancel(None)
        return
    logger.error("A reply failed unexpectedly:\n%s", redact("".join(traceback.format_exception(failure))))
    text = redact(f"{type(failure).__name__}: {failure}")
    fault = ClaudeError(f"The reply failed because of a fault in claude_magic ({text}). Please report it.")
    progress.fail(fault, None)


def _arrived(stream: MessageStream | None) -> Message | None:
    """Return what came of a reply, or None if nothing did."""
    if stream is None:
        return None
    message = stream.message
    return message if message.id or message.content else None
