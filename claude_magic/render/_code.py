"""Code blocks: escaped text, coloured by Pygments in the colours of the Jupyter theme where that is cheap."""

from __future__ import annotations

from functools import cache, lru_cache
from html import escape
from typing import TYPE_CHECKING, Final

from ._styles import CODE_BLOCK, CODE_INSIDE, CODE_TOKENS

if TYPE_CHECKING:
    from pygments.lexer import Lexer
    from pygments.token import _TokenType

# Longer code is shown plain: lexing it would hold up the frame, and no lexer's worst case gets room to grow.
_MAX_COLOURED_CHARS: Final = 20_000

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


def render_code(code: str, language: str) -> str:
    """Return `<pre>` HTML for a code block; `language` is the untrusted first word of a fence's info string."""
    return f'<pre style="{CODE_BLOCK}"><code style="{CODE_INSIDE}">{_highlight(code, language.lower())}</code></pre>\n'


@lru_cache(maxsize=64)
def _highlight(code: str, language: str) -> str:
    if language not in _LANGUAGES or len(code) > _MAX_COLOURED_CHARS:
        return escape(code, quote=False)
    pieces: list[str] = []
    run: list[str] = []
    run_style = ""
    for token_type, text in _lexer(language).get_tokens(code):
        style = _style_of(token_type) if not text.isspace() else run_style
        if style != run_style:
            pieces.append(_span("".join(run), run_style))
            run, run_style = [], style
        run.append(text)
    pieces.append(_span("".join(run), run_style))
    return "".join(pieces)


def _span(text: str, style: str) -> str:
    escaped = escape(text, quote=False)
    return f'<span style="{style}">{escaped}</span>' if style and text else escaped


@cache
def _lexer(language: str) -> Lexer:
    from pygments.lexers import get_lexer_by_name  # only an answer with code in it pays for Pygments

    return get_lexer_by_name(language, stripnl=False, ensurenl=False)


@cache
def _style_of(token_type: _TokenType) -> str:
    name = ".".join(token_type)
    while name and name not in CODE_TOKENS:
        name = name.rpartition(".")[0]
    return CODE_TOKENS.get(name, "")
