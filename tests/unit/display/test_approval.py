"""Approval questions for tool calls in the running cell."""

from __future__ import annotations

import asyncio
import threading
import types
from typing import Any

import IPython.display
import pytest

from claude_magic.display import ApprovalButtons, _buttons
from claude_magic.tools import ToolCall

TIMEOUT = 20.0


def test_stop_before_the_question_is_shown_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question imports ipywidgets, which takes a while. After a Stop meanwhile, no question is shown."""
    has_begun, may_end = threading.Event(), threading.Event()
    shown: list[Any] = []

    def slow_import() -> None:
        has_begun.set()
        may_end.wait(TIMEOUT)

    async def cell() -> None:
        asking = asyncio.ensure_future(ApprovalButtons().ask(ToolCall(name="tide", arguments={})))
        await asyncio.to_thread(has_begun.wait, TIMEOUT)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asking, TIMEOUT)
        may_end.set()

    thread = types.SimpleNamespace(join=slow_import)
    monkeypatch.setattr(_buttons, "start_widgets_import", lambda: thread)
    monkeypatch.setattr(IPython.display, "display", lambda *args, **_kwargs: shown.append(args))
    asyncio.run(cell())

    assert has_begun.is_set()
    assert shown == []
