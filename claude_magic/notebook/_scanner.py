"""Reading an option line from left to right: words and quoted values, and the rest untouched."""

from IPython.core.error import UsageError


class Scanner:
    """A position in the option line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def rest(self) -> str:
        """Return what has not been read, as it was typed."""
        return self.text[self.position :]

    def peek_char(self) -> str:
        """Return the next character; "" at the end."""
        return self.text[self.position : self.position + 1]

    def peek_word(self) -> str:
        """Return what stands up to the next space; "" at a space and at the end."""
        words = self.rest().split(maxsplit=1)
        return words[0] if words and not self.peek_char().isspace() else ""

    def skip(self, text: str) -> None:
        """Pass over text that stands here."""
        self.position += len(text)

    def skip_spaces(self) -> None:
        """Go to the next character that is no space."""
        rest = self.rest()
        self.position += len(rest) - len(rest.lstrip())

    def skip_one_space(self) -> None:
        """Pass over a single space, if one stands here."""
        if self.peek_char().isspace():
            self.position += 1

    def take_word(self) -> str:
        """Read up to the next space."""
        word = self.peek_word()
        self.skip(word)
        return word

    def is_at_quote(self) -> bool:
        """Whether a quoted value begins here."""
        return self.peek_char() in ("'", '"')

    def take_quoted(self, name: str) -> str:
        r"""Read a quoted value; inside, `\"` and `\\` stand for a quote and a backslash, all else for itself.

        Raises:
            UsageError: The quote is not closed, or no space follows it. `name` says whose value it is.
        """
        quote = self.peek_char()
        pieces: list[str] = []
        index = self.position + 1
        while index < len(self.text) and self.text[index] != quote:
            if self.text[index] == "\\" and self.text[index + 1 : index + 2] in (quote, "\\"):
                index += 1
            pieces.append(self.text[index])
            index += 1
        self.position = index + 1
        if index >= len(self.text):
            raise UsageError(f"The quote {quote} behind {name} is not closed. Nothing was sent.")
        if self.peek_char() and not self.peek_char().isspace():
            raise UsageError(
                f"Put a space behind the quoted value of {name}, or \\ before a quote inside it. Nothing was sent."
            )
        return "".join(pieces)
