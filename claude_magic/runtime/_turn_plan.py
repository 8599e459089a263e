"""From a question to a turn: its place in the conversations, what was said before, and the request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..client import ClaudeClient, ClaudeError, ConfigurationError, Message, MessageRequest
from ..conversation import Conversations, Place, Turn, fingerprint
from ._model_names import ModelNames, table_id
from ._models import facts_of
from ._question import Question
from ._requests import History, PlannedRequest, check_no_key, check_prompt, plan_request
from ._settings import ResolvedSettings

_CHARS_PER_TOKEN = 3.5
"""Of ordinary text. Used only to tell whether a conversation comes near the size of the model's context."""
_NEARLY_FULL = 0.8


class ContextFullError(ConfigurationError):
    """The conversation does not fit into the model's context any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPlan:
    """A turn that is about to be asked.

    Attributes:
        question: What is asked.
        place: Where in the conversations; None stands alone.
        request: What is sent first.
        notes: What the reader should know, as sentences.
        fingerprint: Of what the model's thinking is bound to: system prompt and tools.
    """

    question: Question
    place: Place | None
    request: MessageRequest
    notes: tuple[str, ...]
    fingerprint: str


class TurnPlanner:
    """Plans turns, and takes them into the conversations when they are over.

    Args:
        conversations: The turns so far.
        names: Knows which model a short name means.
    """

    def __init__(self, conversations: Conversations, names: ModelNames) -> None:
        self._conversations = conversations
        self._names = names

    def plan(self, question: Question, settings: ResolvedSettings) -> TurnPlan:
        """Plan a turn with what is known without asking the server.

        Raises:
            ConfigurationError: The question cannot be sent.
        """
        check_prompt(question)
        check_no_key(question, settings.values.system)
        model = settings.values.model
        return self._plan(question, settings, self._place(question), table_id(model) or model)

    def renew(self, plan: TurnPlan, settings: ResolvedSettings) -> TurnPlan:
        """Return the plan as it is where its place is still the same; else a new one.

        Raises:
            ConfigurationError: The question cannot be sent there.
        """
        if plan.place is None or self._place(plan.question) == plan.place:
            return plan
        return self.plan(plan.question, settings)

    async def resolve(self, client: ClaudeClient, plan: TurnPlan, settings: ResolvedSettings) -> TurnPlan:
        """Return the plan with the model that a short name means at this server."""
        name = settings.values.model
        if table_id(name) is None:
            return plan
        model = await self._names.resolve(client, name)
        return plan if model == plan.request.model else self._plan(plan.question, settings, plan.place, model)

    def explain(self, error: ClaudeError, plan: TurnPlan) -> None:
        """Add to an error about a model that nobody knows what may have been meant."""
        self._names.explain(error, plan.request.model)

    def keep(
        self,
        plan: TurnPlan,
        messages: Sequence[dict[str, Any]],
        *,
        is_partial: bool,
        last: Message | None,
        usage: dict[str, Any] | None,
    ) -> Turn | None:
        """Take a turn into the conversation; None if it stands alone.

        Args:
            plan: The turn as it was planned.
            messages: Its messages, fit to be sent again.
            is_partial: It broke off.
            last: The last reply, which tells who answered, and how full the context is.
            usage: What all of it took.
        """
        if plan.place is None:
            return None
        return self._conversations.add(
            plan.place,
            prompt=plan.question.prompt,
            messages=messages,
            model=(last.model if last is not None else "") or plan.request.model,
            fingerprint=plan.fingerprint,
            is_partial=is_partial,
            usage=usage,
            context_tokens=0 if last is None else last.usage.context_tokens,
        )

    def _place(self, question: Question) -> Place | None:
        where = question.where
        if where is None:
            return None
        return self._conversations.place(
            thread=where.thread, cell=where.cell, start_new=where.is_new, is_beside=where.is_beside
        )

    def _plan(
        self, question: Question, settings: ResolvedSettings, place: Place | None, model: str
    ) -> TurnPlan:
        binding = fingerprint(settings.values.system, question.tool_definitions(model))
        notes = [*question.notes, *(() if question.tools is None else question.tools.notes)]
        history = History()
        if place is not None:
            history = History(
                messages=self._conversations.messages(place),
                is_rebound=self._conversations.binding(place, fingerprint=binding),
            )
            notes += self._notes_on(place, question, model)
        planned: PlannedRequest = plan_request(question, settings, history, model=model)
        return TurnPlan(
            question=question,
            place=place,
            request=planned.request,
            notes=(*notes, *planned.notes),
            fingerprint=binding,
        )

    def _notes_on(self, place: Place, question: Question, model: str) -> list[str]:
        notes = _notes_on_branches(place)
        parent = self._conversations.parent_turn(place)
        if parent is not None:
            notes += _notes_on_context(parent, question, model)
        return notes


def _notes_on_branches(place: Place) -> list[str]:
    """Say which turns are not part of the conversation any more, now that the cell has been run again."""
    behind, aside = place.left_behind, place.left_aside
    notes = []
    if behind:
        turns = "1 later turn belongs" if behind == 1 else f"{behind} later turns belong"
        notes.append(f"{turns} to the former answer of this cell, on a branch of its own: %claude history")
    if aside:
        turns = "1 turn is" if aside == 1 else f"{aside} turns are"
        notes.append(
            f"{turns} not part of this conversation: the cell goes on after the one that it followed before, on that one's "
            "branch: %claude history"
        )
    return notes


def _notes_on_context(parent: Turn, question: Question, model: str) -> list[str]:
    """Say when the conversation comes near the size of the context.

    Raises:
        ContextFullError: It does not fit any more.
    """
    facts = facts_of(model)
    if facts is None or not parent.context_tokens:
        return []
    tokens = parent.context_tokens + round(question.text_length / _CHARS_PER_TOKEN)
    ways_out = "--new starts a conversation, --thread another one, %claude undo takes the last turn back"
    if parent.context_tokens >= facts.context_window:
        raise ContextFullError(
            f"This thread holds {parent.context_tokens:,} tokens, and {model} takes {facts.context_window:,}, so nothing "
            f"was sent. {ways_out}; --no-history asks without it."
        )
    if tokens < _NEARLY_FULL * facts.context_window:
        return []
    return [f"This thread fills about {tokens / facts.context_window:.0%} of {model}'s context. {ways_out}."]
