"""Code blocks: escaped text, coloured by Pygments in the colours of the Jupyter theme where that is cheap.

The text decides how long a lexer takes: 4,000 line breaks labelled Java keep Pygments busy for minutes. So each step
of a lexer sees a short window of the code, all steps together get a fixed time of the processor, and colours that would be
far larger than the code are left out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from html import escape
from typing import TYPE_CHECKING, Any, Final

from ..schema import reveal
from ._sanitise import CALL_DATA, CODE_BLOCK, CODE_INSIDE, CODE_TOKENS, folded, styled, without_math

if TYPE_CHECKING:
    from pygments.lexer import Lexer
    from pygments.token import _TokenType

# Longer code is shown plain: lexing it would hold up the frame.
_MAX_COLOURED_CHARS: Final = 20_000
# Characters of code that a pattern sees at once. A longer comment is not coloured as one.
_WINDOW_CHARS: Final = 400
# Seconds of this thread's time; 20,000 characters of ordinary Python take about 0.1.
_MAX_LEXING_TIME: Final = 0.25
# The HTML of real code is 3 to 12 times as long as the code.
_MAX_GROWTH: Final = 20
_ALWAYS_CHARS: Final = 4_000

# A closed list, because asking Pygments for an unknown name searches all installed packages for plug-ins.
_LANGUAGE_NAMES: Final = """
    bash sh shell zsh console c cpp c++ csharp c# cs css cuda dart diff docker dockerfile elixir erlang
    fish fortran go golang graphql groovy haskell hs html http ini ipython java javascript js json json5
    jsx julia kotlin latex tex lisp lua make makefile matlab nginx nix objective-c ocaml perl php
    postgresql powershell ps1 prolog protobuf proto pycon pytb python python3 py py3 r racket rb ruby
    rust rs sass scala scheme scss sql sqlite3 stata swift terraform hcl toml ts tsx typescript vim vue
    xml yaml yml zig
"""
_LANGUAGES: Final = frozenset(_LANGUAGE_NAMES.split())
# Console sessions are coloured as the language in them: their own lexers see pieces of any length.
_PLAIN_LANGUAGES: Final = {
    "console": "bash",
    "ipython": "python",
    "make": "basemake",
    "makefile": "basemake",
    "pycon": "python",
    "sqlite3": "sql",
    "yml": "yaml",  # Pygments knows it by this name since 2.20
}


def render_code(code: str, language: str) -> str:
    """Return `<pre>` HTML for a code block; `language` is the untrusted first word of a fence's info string."""
    return f'<pre style="{CODE_BLOCK}"><code style="{CODE_INSIDE}">{_highlight(code, language.lower())}</code></pre>\n'


@lru_cache(maxsize=64)
def _highlight(code: str, language: str) -> str:
    code = reveal(code, is_code=True)
    lexer = _lexer(language) if language in _LANGUAGES and len(code) <= _MAX_COLOURED_CHARS else None
    if lexer is None:
        return escape(code, quote=False)
    html = "".join(_coloured(_tokens(lexer, code)))
    is_too_large = len(html) > max(_ALWAYS_CHARS, _MAX_GROWTH * len(code))
    return escape(code, quote=False) if is_too_large else html


def _coloured(tokens: Iterator[tuple[_TokenType | None, str]]) -> Iterator[str]:
    run: list[str] = []
    run_style = ""
    for token_type, text in tokens:
        style = _style_of(token_type) if not text.isspace() else run_style
        if style != run_style:
            yield _span("".join(run), run_style)
            run, run_style = [], style
        run.append(text)
    yield _span("".join(run), run_style)


def _tokens(
    lexer: Lexer, code: str, clock: Callable[[], float] = time.thread_time
) -> Iterator[tuple[_TokenType | None, str]]:
    """Yield the tokens of `code`, which has no carriage return. When the time is up, the rest is one token."""
    end = clock() + _MAX_LEXING_TIME
    position = 0
    for token_type, text in lexer.get_tokens(code):
        yield token_type, text
        position += len(text)
        if clock() > end:
            yield None, code[position:]
            return


def _span(text: str, style: str) -> str:
    return styled(style, text, "span") if style and text else escape(text, quote=False)


@cache
def _lexer(language: str) -> Lexer | None:
    """Return a lexer with bounded steps; None if there is none."""
    from pygments.lexer import RegexLexer  # only an answer with code in it pays for Pygments
    from pygments.lexers import get_lexer_by_name
    from pygments.lexers.data import JsonLexer

    lexer = get_lexer_by_name(_PLAIN_LANGUAGES.get(language, language), stripnl=False, ensurenl=False)
    if isinstance(lexer, JsonLexer):  # one loop over the characters
        return lexer
    return _in_windows(lexer) if isinstance(lexer, RegexLexer) else None


def _in_windows(lexer: Any) -> Lexer:
    """Return a lexer like `lexer` whose patterns see one window of the code at a time."""
    rules = {
        state: [(_windowed(match), *rest) for match, *rest in patterns]
        for state, patterns in lexer._tokens.items()
    }
    kind: Any = type(lexer)
    bounded: Any = type(kind)(f"Bounded{kind.__name__}", (kind,), {"_tokens": rules})
    bounded = bounded(**lexer.options)
    bounded._tokens = rules  # one lexer picks its rules when it is made
    return bounded  # type: ignore[no-any-return]


def _windowed(match: Any) -> Callable[..., re.Match[str] | None]:
    pattern: re.Pattern[str] = match.__self__

    def match_in_window(text: str, start: int, end: int | None = None) -> re.Match[str] | None:
        window_end = start + _WINDOW_CHARS
        return pattern.match(text, start, window_end if end is None else min(end, window_end))

    return match_in_window


@cache
def _style_of(token_type: _TokenType | None) -> str:
    name = ".".join(token_type or ())
    while name and name not in CODE_TOKENS:
        name = name.rpartition(".")[0]
    return CODE_TOKENS.get(name, "")


def render_folded_code(title: str, code: str, language: str) -> str:
    """Return a folded code block as HTML."""
    return without_math(folded(escape(title, quote=False), render_code(code, language)))


_MAX_CHARS: Final = 8_000


def render_data(text: str) -> str:
    """Return `text` in a box, cut where it is long and saying so; HTML that is not sanitised yet, "" for blank text."""
    if not text.strip():
        return ""
    cut = len(text) - _MAX_CHARS
    shown = f"{text[:_MAX_CHARS]}\n… {cut:,} more characters" if cut > 0 else text
    return styled(CALL_DATA, reveal(shown, is_code=True), "pre")


def short(text: str, most: int) -> str:
    """Return the first `most` characters of `text`; where it is cut, the last one is an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def excerpt(text: str, most: int) -> str:
    """Return `text` on one line, shortened as `short` does."""
    return short(" ".join(text.split()), most)
