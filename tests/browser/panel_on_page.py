"""A panel in a real browser."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, expect


class PanelOnPage:
    """A panel in the output of a cell.

    Args:
        root: The outermost element of the panel.
    """

    def __init__(self, root: Locator) -> None:
        self.root = root
        self.prompt = root.get_by_role("textbox", name="Prompt for Claude")
        self.conversation = root.get_by_role("log", name="Conversation")
        self.answers = root.locator(".claude-magic-answer")
        self.footers = root.locator(".claude-magic-footer")
        self.note = root.get_by_role("status")

    def answer_length(self, index: int = 0) -> int:
        """Return the number of characters of an answer so far, visible or not."""
        return len(self.answers.nth(index).text_content() or "")

    def expect_growth(self, index: int = 0) -> None:
        """Wait until an answer is longer than now."""
        length = self.answer_length(index)
        expect(self.answers.nth(index)).to_have_text(re.compile(rf"[\s\S]{{{length + 1},}}"))

    def button(self, name: str) -> Locator:
        """Return the button with this label."""
        return self.root.get_by_role("button", name=name, exact=True)

    def ask(self, prompt: str) -> None:
        """Type a prompt, and send it with the keyboard."""
        self.prompt.fill(prompt)
        self.prompt.press("Control+Enter")

    def expect_answers(self, count: int, *, last: str = "tokens in") -> None:
        """Wait until there are this many answers, the last of them complete, with this text in its footer."""
        expect(self.footers).to_have_count(count)
        expect(self.footers.last).to_contain_text(last)
        expect(self.button("Send")).to_be_visible()  # in the place of Stop
