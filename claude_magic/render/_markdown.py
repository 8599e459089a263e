"""Renders Markdown written by a model as safe HTML: the HTML of its tokens, of code, of links, and of a text whose end is missing.

Raw HTML is never interpreted, but shown as text. Only links to http, https and mailto addresses are active. Remote
images become links, so that viewing an answer contacts no other host. The result has passed the allow-list of
`_sanitise`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from functools import cache, lru_cache
from html import escape
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from ..schema import reveal
from ._sanitise import (
    CELL_ALIGNMENTS,
    CODE_BLOCK,
    CODE_INSIDE,
    CODE_TOKENS,
    MATH_CLASSES,
    NO_MATH_CLASSES,
    QUIET,
    SAFE_SCHEMES,
    SCROLLING_TABLE,
    SOURCE_BLOCK,
    TABLE,
    folded,
    sanitise,
    styled,
    without_math,
)
from ._syntax import install_syntax, with_newlines, without_labels
from ._tex import TOO_LARGE, TOO_MANY_FORMULAS, Allowance, with_unsafe_commands_disabled

if TYPE_CHECKING:
    from pygments.lexer import Lexer
    from pygments.token import _TokenType

Env = MutableMapping[str, Any]

_SCHEME: Final = re.compile(r"\s*([a-z][a-z0-9+.\-]*):", re.IGNORECASE)
_BARE_URL: Final = re.compile(r"https?://[^\s<>\"'`\\^{}|]+", re.IGNORECASE)


def render_markdown(text: str, *, remote_images: bool = False, allowance: Allowance | None = None) -> str:
    """Return safe HTML for Markdown.

    Args:
        text: Markdown written by a model; untrusted.
        remote_images: Load images from http and https addresses instead of linking to them.
        allowance: How much of the answer may still be rendered, if `text` is only a part of it.
    """
    return sanitise(wrap(render_fragment(text, new_env(remote_images=remote_images, allowance=allowance))))


def new_env(*, remote_images: bool, allowance: Allowance | None) -> Env:
    """Return a new parsing environment for a text or a part of one."""
    return {"remote_images": remote_images, "allowance": allowance or Allowance()}


def render_fragment(text: str, env: Env) -> str:
    """Return unsanitised HTML for Markdown. `env` passes link definitions and the allowance to the next fragment."""
    md = parser()
    allowance = allowance_of(env)
    pieces: list[str] = []
    for is_admitted, blocks in groupby(split_blocks(text, env), key=lambda block: block.is_admitted):
        if not is_admitted:
            pieces.append(source_block("\n".join(block.source for block in blocks), TOO_LARGE))
            continue
        for block in blocks:
            had_formulas_left = not allowance.has_no_formulas_left
            pieces.append(str(md.renderer.render(block.tokens, md.options, env)))
            if had_formulas_left and allowance.has_no_formulas_left:
                pieces.append(styled(QUIET, TOO_MANY_FORMULAS) + "\n")
    return "".join(pieces)


class MarkdownBlock(NamedTuple):
    """A top-level block: tokens, lines (from 0, end excluded), source, and whether the allowance admits it."""

    tokens: list[Token]
    start: int
    end: int
    source: str
    is_admitted: bool


def split_blocks(text: str, env: Env) -> list[MarkdownBlock]:
    """Parse `text`, and return its top-level blocks, counted against the allowance in `env`."""
    allowance = allowance_of(env)
    lines = with_newlines(text).split("\n")
    ends = [*accumulate(len(line) + 1 for line in lines)]
    blocks: list[MarkdownBlock] = []
    position = 0
    for tokens in _top_level_groups(parser().parse(text, env)):
        start, position = tokens[0].map or (position, position)
        written = allowance.written + (ends[position - 1] if position else 0)
        source = "\n".join(lines[start:position])
        blocks.append(MarkdownBlock(tokens, start, position, source, allowance.admit(tokens, written)))
    allowance.written += len(text)
    return blocks


def allowance_of(env: Env) -> Allowance:
    """Return the allowance in `env`: how much of the answer may still be rendered."""
    allowance: Allowance = env["allowance"]
    return allowance


def _top_level_groups(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    group: list[Token] = []
    for token in tokens:
        group.append(token)
        if token.level == 0 and token.nesting <= 0 and token.type != "inline":
            yield group
            group = []
    if group:
        yield group


def source_block(source: str, reason: str) -> str:
    """Return unsanitised HTML that shows Markdown as its source, with the reason."""
    return f"{styled(SOURCE_BLOCK, reveal(source), 'pre')}\n{styled(QUIET, reason)}\n"


def parse_blocks(text: str) -> list[Token]:
    """Return the block tokens of `text` with their lines (`map`), without parsing inline content."""
    md = parser()
    tokens: list[Token] = []
    md.block.parse(with_newlines(text), md, {}, tokens)
    return tokens


def wrap(html: str) -> str:
    """Return `html` in an element in which MathJax typesets only the formulas that this package has marked."""
    return f'<div class="{NO_MATH_CLASSES}">\n{html}</div>'


@cache
def parser() -> MarkdownIt:
    """Return the shared, configured parser. It has no state between calls."""
    md = MarkdownIt(renderer_cls=_Renderer)
    install_syntax(md)
    md.validateLink = _is_harmless_link  # type: ignore[method-assign]
    return md


def _is_harmless_link(url: str) -> bool:
    """Return whether a URL is linkable or relative. Relative links are shown as plain text."""
    return _SCHEME.match(url) is None or is_linkable(url)


def is_linkable(url: str) -> bool:
    """Return whether a URL has a scheme that links may have."""
    scheme = _SCHEME.match(url)
    return scheme is not None and scheme[1].lower() in SAFE_SCHEMES


# HTML of the tokens


class _Renderer(RendererHTML):
    """Renders tokens as HTML. Each method is named after the token type that it renders, as markdown-it requires."""

    def text(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        content = reveal(tokens[idx].content)
        if "://" not in content or env.get("link_depth"):
            return escape(content, quote=False)
        return _link_bare_urls(content)

    def plain_text(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return escape(reveal(tokens[idx].content), quote=False)

    def code_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return f"<code>{escape(reveal(tokens[idx].content, is_code=True), quote=False)}</code>"

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        env["link_depth"] = env.get("link_depth", 0) + 1
        url = str(tokens[idx].attrGet("href") or "")
        return f'<a href="{escape(url)}"{_title(tokens[idx])}>' if is_linkable(url) else "<span>"

    def link_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        env["link_depth"] -= 1
        opening = next(token for token in reversed(tokens[:idx]) if token.type == "link_open")
        return "</a>" if is_linkable(str(opening.attrGet("href") or "")) else "</span>"

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        token = tokens[idx]
        url = str(token.attrGet("src") or "")
        alt = reveal(self.renderInlineAsText(token.children, options, env))
        if not is_linkable(url) or url.lower().startswith("mailto:"):
            return escape(alt, quote=False)
        if env.get("remote_images"):
            return f'<img src="{escape(url)}" alt="{escape(alt)}"{_title(token)}>'
        label = escape(alt or url, quote=False)
        return (
            label if env.get("link_depth") else f'<a href="{escape(url)}"{_title(token)}>image: {label}</a>'
        )

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        language = tokens[idx].info.split(maxsplit=1)
        return render_code(tokens[idx].content, language[0] if language else "")

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return render_code(tokens[idx].content, "")

    def math_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        token = tokens[idx]
        if not allowance_of(env).admit_formula(token.content) or env.get("shows_source"):
            return f"<code>{escape(reveal(token.content, is_code=True), quote=False)}</code>"
        opening, closing = (r"\[", r"\]") if token.meta["is_display"] else (r"\(", r"\)")
        return _formula("span", opening, token.content, closing)

    def math_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        content = tokens[idx].content
        if not allowance_of(env).admit_formula(content) or env.get("shows_source"):
            return self.math_open(tokens, idx, options, env)
        return _formula("div", r"\[", content, r"\]") + "\n"

    def math_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return styled(SOURCE_BLOCK, reveal(tokens[idx].content), "pre") + "\n"

    def sparse_table(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return source_block(tokens[idx].content, TOO_LARGE)

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return f'<div style="{SCROLLING_TABLE}"><table style="{TABLE}">\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return "</table></div>\n"

    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return f'<th style="{_alignment(tokens[idx])}">'

    def td_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return f'<td style="{_alignment(tokens[idx])}">'


def _title(token: Token) -> str:
    title = token.attrGet("title")
    return f' title="{escape(reveal(str(title)))}"' if title else ""


def _alignment(token: Token) -> str:
    # Always explicit, because JupyterLab aligns the cells of tables in HTML output to the right, as for data frames.
    wanted = str(token.attrGet("style") or "").removeprefix("text-align:")
    return CELL_ALIGNMENTS.get(wanted, CELL_ALIGNMENTS["left"])


def _formula(tag: str, opening: str, formula: str, closing: str) -> str:
    source = escape(without_labels(formula), quote=False)
    return f'<{tag} class="{MATH_CLASSES}">{opening}{source}{closing}</{tag}>'


def _link_bare_urls(text: str) -> str:
    pieces, position = [], 0
    for found in _BARE_URL.finditer(text):
        url = found[0].rstrip(".,;:!?*_~")
        if url.endswith(")") and url.count("(") < url.count(")"):
            url = url.removesuffix(")")
        pieces += [escape(text[position : found.start()], quote=False)]
        pieces += [f'<a href="{escape(url)}">{escape(url, quote=False)}</a>']
        position = found.start() + len(url)
    pieces.append(escape(text[position:], quote=False))
    return "".join(pieces)


# Code blocks: escaped text, coloured by Pygments in the colours of the Jupyter theme where that is cheap.
#
# The text decides how long a lexer takes: 4,000 line breaks labelled Java keep Pygments busy for minutes. So each step
# of a lexer sees a short window of the code, all steps together get a fixed time of the processor, and colours that would be
# far larger than the code are left out.

# Longer code is not highlighted, because that would delay the frame.
_MAX_COLOURED_CHARS: Final = 20_000
# Characters of code that a pattern sees at once. A longer comment is not highlighted as a comment.
_WINDOW_CHARS: Final = 400
# CPU time of this thread in seconds; 20,000 characters of ordinary Python take about 0.1 s.
_MAX_LEXING_TIME: Final = 0.25
# Maximum length of the HTML relative to the code. For real code it is 3 to 12 times as long.
_MAX_GROWTH: Final = 20
_ALWAYS_CHARS: Final = 4_000

# A fixed list, because for an unknown name Pygments searches all installed packages for plug-ins.
_LANGUAGE_NAMES: Final = """
    bash sh shell zsh console c cpp c++ csharp c# cs css cuda dart diff docker dockerfile elixir erlang
    fish fortran go golang graphql groovy haskell hs html http ini ipython java javascript js json json5
    jsx julia kotlin latex tex lisp lua make makefile matlab nginx nix objective-c ocaml perl php
    postgresql powershell ps1 prolog protobuf proto pycon pytb python python3 py py3 r racket rb ruby
    rust rs sass scala scheme scss sql sqlite3 stata swift terraform hcl toml ts tsx typescript vim vue
    xml yaml yml zig
"""
_LANGUAGES: Final = frozenset(_LANGUAGE_NAMES.split())
# Console sessions are highlighted as the language in them, because their own lexers process pieces of any length.
_PLAIN_LANGUAGES: Final = {
    "console": "bash",
    "ipython": "python",
    "make": "basemake",
    "makefile": "basemake",
    "pycon": "python",
    "sqlite3": "sql",
    "yml": "yaml",  # its name in Pygments since 2.20
}


def render_code(code: str, language: str) -> str:
    """Return a code block as `<pre>` HTML; `language` is the first word of a fence's info string, and untrusted."""
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
    """Yield the tokens of `code`, which has no carriage returns. After the time limit, the rest is a single token."""
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
    """Return the lexer for a language, limited to windows of the code; None if there is none."""
    from pygments.lexer import RegexLexer  # late: only answers with code need Pygments
    from pygments.lexers import get_lexer_by_name
    from pygments.lexers.data import JsonLexer

    lexer = get_lexer_by_name(_PLAIN_LANGUAGES.get(language, language), stripnl=False, ensurenl=False)
    if isinstance(lexer, JsonLexer):  # takes linear time: one loop over the characters
        return lexer
    return _in_windows(lexer) if isinstance(lexer, RegexLexer) else None


def _in_windows(lexer: Any) -> Lexer:
    """Return a copy of `lexer` whose patterns see one window of the code at a time."""
    rules = {
        state: [(_windowed(match), *rest) for match, *rest in patterns]
        for state, patterns in lexer._tokens.items()
    }
    kind: Any = type(lexer)
    bounded: Any = type(kind)(f"Bounded{kind.__name__}", (kind,), {"_tokens": rules})
    bounded = bounded(**lexer.options)
    bounded._tokens = rules  # one of the lexers chooses its rules on instantiation
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
    """Return a collapsed code block as HTML."""
    return without_math(folded(escape(title, quote=False), render_code(code, language)))


# The end of a text that is being written, or that was cut: half-written marks are closed or held back.
#
# Without this the page flickers while a text grows: a lone `-` under a line makes it a heading for a moment, `**bold` shows its
# asterisks until the closing ones arrive, a link shows its address. An answer that was cut would show them for good.

# A last line of only these characters may become a list, a rule, a heading, a fence, an underline, a table ...
_MARKS: Final = "-=*_+#~`$|:\\ \t>"
_LIST_NUMBER: Final = re.compile(r"\d{1,9}[.)]?")
_LABEL: Final = r"!?\[([^\[\]\n]*)"
# An address may hold brackets, and a title may follow it.
_ADDRESS: Final = r"""\]\((?:[^()\s]++|\([^()\s]*+\)?)*+(?:[ ]["'][^"'\n]*+["']?)?"""
# A bracket after a letter or a backslash begins no link: `x[0`, `\[`.
_NO_INDEX: Final = r"(?<![A-Za-z0-9_)\]\\])"
_HALF_LINK: Final = re.compile(rf"{_LABEL}{_ADDRESS}$|{_NO_INDEX}{_LABEL}$")
_POSSIBLE_LINK: Final = re.compile(rf"{_LABEL}{_ADDRESS}$|{_NO_INDEX}{_LABEL}\]?$")
_HALF_DELIMITER_ROW: Final = re.compile(r"[ \t|:\-]*")
_CODE_SPAN: Final = re.compile("`[^`]*`")
# Blocks in which marks mean nothing, and the marks that close them, of which a part may be there already.
VERBATIM: Final = {
    "fence": "`~",
    "math_open": "$\\",
    **dict.fromkeys(("code_block", "math_block", "sparse_table", "plain_text"), ""),
}


def close_open_marks(source: str, *, is_cut: bool) -> str:
    """Return Markdown as it should be shown although its end is missing.

    Args:
        source: The text so far.
        is_cut: No more is coming. Then a number alone in its line and a word in brackets are shown as they are, because they may be the
            answer.
    """
    last = _last_block(source)
    if last is not None and last.type in VERBATIM and last.map and last.map[0] < source.count("\n"):
        return _without_last_line(source, marks=VERBATIM[last.type])
    if table := _with_table_head(source, is_cut=is_cut):
        return table
    shown = _without_undecided_line(source, is_cut=is_cut)
    if is_cut and not shown.strip():
        return source
    last = last if shown == source else _last_block(shown)
    if last is None or last.type in VERBATIM:
        return shown
    start = shown.rfind("\n\n", 0, len(shown.rstrip())) + 1
    return shown[:start] + _with_inline_marks_closed(shown[start:], is_cut=is_cut)


def _last_block(source: str) -> Token | None:
    return next((token for token in reversed(parse_blocks(source)) if token.nesting >= 0), None)


def _without_last_line(source: str, *, marks: str) -> str:
    """Return `source` without its last line if there are only these marks in it."""
    text, _, line = source.rpartition("\n")
    return source if line.strip(f" \t>{marks}") else text


def _without_undecided_line(source: str, *, is_cut: bool) -> str:
    text, _, line = source.rpartition("\n")
    rest = line.strip(_MARKS)
    is_number = _LIST_NUMBER.fullmatch(rest) and (not is_cut or _is_next_item(rest, text))
    return text if line and (not rest or is_number) else source


def _is_next_item(number: str, text: str) -> bool:
    """Whether `text` ends with a numbered list whose next item may begin with `number`."""
    tokens = parse_blocks(text)
    if not tokens or tokens[-1].type != "ordered_list_close":
        return False
    last = next(token for token in reversed(tokens) if token.type == "list_item_open" and token.level == 1)
    return str(int(last.info) + 1).startswith(number.rstrip(".)"))


def _with_table_head(source: str, *, is_cut: bool) -> str | None:
    """Complete the first one or two rows of a table, so that they are not shown as a paragraph with bars."""
    start = source.rfind("\n\n") + 1
    lines = source[start:].strip("\n").split("\n")
    head = lines[0].strip()
    if not head.startswith("|") or len(head) < 2 or len(lines) > 2:
        return None
    if len(lines) == 2 and (source.endswith("\n") or not _HALF_DELIMITER_ROW.fullmatch(lines[1])):
        return None
    columns = head.strip("|").count("|") + 1
    before = source[: source.index(lines[0], start)]
    head = _with_inline_marks_closed(head.rstrip("|"), is_cut=is_cut)
    return f"{before}{head}|\n|{'---|' * columns}\n"


def _with_inline_marks_closed(paragraph: str, *, is_cut: bool) -> str:
    shown = paragraph.rstrip()
    end = paragraph[len(shown) :]
    if shown.count("`") % 2:
        shown = shown[:-1] if shown.endswith("`") else f"{shown}`"
    else:
        half_link = _HALF_LINK if is_cut else _POSSIBLE_LINK
        shown = half_link.sub(r"\1\2", shown).rstrip("*").rstrip()
    is_bold = _CODE_SPAN.sub("", shown).count("**") % 2
    return f"{shown}{'**' if is_bold else ''}{end}"


_WEB: Final = re.compile(r"https?://[^\s/?#]", re.IGNORECASE)
_SAFE_IN_MARKDOWN: Final = "-._~:/?#@!$&'*+,;=%"
_MARKDOWN_MARKS: Final = re.compile(r"([\\`*_{}\[\]()#+.!|<>~$&-])")


def is_web_address(url: str) -> bool:
    """Whether a URL is an http or https address. Citations and search results link to no others."""
    return bool(_WEB.match(url))


def render_link(url: str, label: str, *, tooltip: str = "") -> str:
    """Return a link as unsanitised HTML; only the label if `url` is not a web address."""
    text = escape(reveal(label), quote=False)
    title = f' title="{escape(reveal(tooltip))}"' if tooltip else ""
    if not is_web_address(url):
        return f"<span{title}>{text}</span>"
    return f'<a href="{escape(url)}"{title}>{text}</a>'


def link_in_markdown(url: str, label: str) -> str:
    """Return a link as Markdown, with its label escaped; only the label if `url` is not a web address."""
    text = escape_markdown(label)
    return f"[{text}]({quote(url, safe=_SAFE_IN_MARKDOWN)})" if is_web_address(url) else text


def escape_markdown(text: str) -> str:
    """Return `text` on one line, with Markdown syntax escaped."""
    return (
        _MARKDOWN_MARKS.sub(r"\\\1", with_unsafe_commands_disabled(" ".join(reveal(text).split())))
        .replace(r"\<", "&lt;")
        .replace(r"\&", "&amp;")
    )


def host_of(url: str) -> str:
    """Return the host name of a URL, or ""."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
