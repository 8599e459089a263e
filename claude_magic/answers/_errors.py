"""What an answer can lack of what was asked for."""

from __future__ import annotations

from ..client import ClaudeError


class AnswerError(ClaudeError, ValueError):
    """An answer came, but not of the form that was asked for.

    A ValueError too, because that is what readers of JSON expect.

    Attributes:
        text: The answer as the model wrote it.
    """

    def __init__(self, message: str, *, text: str) -> None:
        super().__init__(message)
        self.text = text


class NoJSONError(AnswerError):
    """The answer holds no complete JSON value."""


class SchemaMismatchError(AnswerError):
    """The answer is JSON, or should be, but is not what the schema describes.

    Attributes:
        problems: What is wrong, each with the field it is about ("age: Input should be a valid integer").
    """

    def __init__(self, message: str, *, text: str, problems: tuple[str, ...]) -> None:
        super().__init__(message, text=text)
        self.problems = problems
