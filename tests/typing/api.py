"""The types of the public names for type checkers. Checked by mypy, never run."""

from typing import assert_type

from claude_magic import LimitsGauge, PromptPanel, Reply, claude
from claude_magic.client import Message, Usage


def replies() -> None:
    """Asking returns a reply."""
    reply = claude.ask("Name three primes.", model="claude-haiku-5-5", max_tokens=2000)
    assert_type(reply, Reply)
    assert_type(reply.text, str)
    assert_type(str(reply), str)
    assert_type(reply.message, Message | None)
    assert_type(reply.usage, Usage | None)
    assert_type(claude.last, Reply | None)


async def awaited() -> None:
    """Awaiting returns a reply."""
    assert_type(await claude.ask_async("Name three primes."), Reply)


def panels() -> None:
    """A panel returns replies, too."""
    panel = claude.panel(thread="ours", model="opus")
    assert_type(panel, PromptPanel)
    assert_type(panel.ask("Name three primes."), Reply)
    assert_type(panel.replies, tuple[Reply, ...])
    assert_type(LimitsGauge().is_closed, bool)
