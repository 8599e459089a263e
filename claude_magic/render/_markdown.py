"""Renders Markdown written by a model as safe HTML.

Raw HTML is never interpreted: it is shown as the text it is. Links work for http, https and mailto only; remote
images become links, so that viewing an answer contacts no other host. The result has passed the allow-list of
`_sanitise`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping, Sequence
from functools import cache, lru_cache
from html import escape
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unicodedata import category, east_asian_width
from urllib.parse import quote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.common.utils import isPunctChar, isWhiteSpace
from markdown_it.parser_inline import ParserInline
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Scanned
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from typing_extensions import override

from ..schema import reveal
from . import _math
from ._code import render_code
from ._sanitise import (
    CELL_ALIGNMENTS,
    MATH_CLASSES,
    NO_MATH_CLASSES,
    QUIET,
    SAFE_SCHEMES,
    SCROLLING_TABLE,
    SOURCE_BLOCK,
    TABLE,
    sanitise,
    styled,
)
from ._tex import TOO_LARGE, TOO_MANY_FORMULAS, UNSEEN, Allowance, disarmed

if TYPE_CHECKING:
    from markdown_it.utils import EnvType

# Emphasis in Chinese, Japanese and Korean, which CommonMark's rules do not handle.
#
# In CommonMark a run of `*` or `~` after punctuation closes emphasis only if a space or punctuation follows.
# Chinese and Japanese have no spaces between words, and Korean particles follow a word directly, so `**结论：**样本` shows its asterisks. The
# published amendment (https://github.com/tats-u/markdown-cjk-friendly) says that beside a character of these languages only
# punctuation of other languages prevents emphasis. Text without such characters is unchanged.
#
# The Markdown handed to other parsers gets an invisible character where they would need the amendment.

# A citation's number, which becomes a link later: noncharacters around digits.
CITATION_START: Final = "\ufdd0"
CITATION_END: Final = "\ufdd1"
_MAX_CITATION_CHARS: Final = 12
# Decomposed vowels and final consonants of Hangul count as narrow.
_HANGUL_JAMO: Final = (range(0x1100, 0x1200), range(0xA960, 0xA980), range(0xD7B0, 0xD800))
_RUN: Final = re.compile(r"\*+|~+")
_EMOJI: Final = range(0x1F000, 0x20000)
_FIRST_RADICAL: Final = 0x2E80


class InlineParser(ParserInline):
    """markdown-it's parser of paragraphs, with the amended rule."""

    def parse(self, src: str, md: MarkdownIt, env: EnvType, tokens: list[Token]) -> list[Token]:
        """Parse a paragraph into `tokens`."""
        state = _State(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens


class _State(StateInline):
    @override
    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:
        end = start
        while end < self.posMax and self.src[end] == self.src[start]:
            end += 1
        before, after = _before(self.src, start), _after(self.src, end, self.posMax)
        opens, closes = _flanks(before, after)
        return Scanned(
            opens and (canSplitWord or not closes or before.is_punctuation),
            closes and (canSplitWord or not opens or after.is_punctuation),
            end - start,
        )


def with_unseen_signs(text: str, start: int, end: int) -> str:
    """Return the marks of emphasis at `start`, so that they open and close for every parser what they do for ours.

    Args:
        text: Markdown.
        start: Where marks begin, of one kind or of several.
        end: Where the last of them ends.
    """
    runs = [_Run.of(text, *run.span()) for run in _RUN.finditer(text, start, end)]
    # Next to a character that is not punctuation, the neighbour of a run needs the invisible character too.
    is_opening, is_closing = any(run.lacks_opening for run in runs), any(run.lacks_closing for run in runs)
    return "".join(
        (UNSEEN if is_closing and run.closes else "")
        + run.marks
        + (UNSEEN if is_opening and run.opens and not (is_closing and run.closes) else "")
        for run in runs
    )


class _Run(NamedTuple):
    """A run of one mark, what it does for us, and what of that others would not see."""

    marks: str
    opens: bool
    closes: bool
    lacks_opening: bool
    lacks_closing: bool

    @classmethod
    def of(cls, text: str, start: int, end: int) -> _Run:
        opens, closes = _flanks(_before(text, start), _after(text, end, len(text)))
        before, after = _seen_before(text, start), _seen_after(text, end)
        opens_anywhere, closes_anywhere = _flanks_by_the_book(_Character(before), _Character(after))
        return cls(
            text[start:end],
            opens,
            closes,
            # An underscore next to the invisible character would be inside a word, and have no effect.
            lacks_opening=opens and not opens_anywhere and after != "_",
            lacks_closing=closes and not closes_anywhere and before != "_",
        )


class _Character(NamedTuple):
    """A character beside a run of marks; a blank stands for the edge of a text."""

    sign: str

    @property
    def is_blank(self) -> bool:
        return isWhiteSpace(ord(self.sign))

    @property
    def is_punctuation(self) -> bool:
        return isPunctChar(self.sign)

    @property
    def is_cjk(self) -> bool:
        return _is_cjk(self.sign)


def _flanks(before: _Character, after: _Character) -> tuple[bool, bool]:
    """Return whether a run between these can open and can close emphasis, by the amendment."""
    if not (before.is_cjk or after.is_cjk):
        return _flanks_by_the_book(before, after)
    opens = not after.is_blank and (
        not after.is_punctuation or after.is_cjk or before.is_blank or before.is_punctuation or before.is_cjk
    )
    closes = not before.is_blank and (
        not before.is_punctuation or before.is_cjk or after.is_blank or after.is_punctuation or after.is_cjk
    )
    return opens, closes


def _flanks_by_the_book(before: _Character, after: _Character) -> tuple[bool, bool]:
    """Return the same by CommonMark 0.31.2, section 6.2."""
    opens = not after.is_blank and (not after.is_punctuation or before.is_blank or before.is_punctuation)
    closes = not before.is_blank and (not before.is_punctuation or after.is_blank or after.is_punctuation)
    return opens, closes


def _before(text: str, start: int) -> _Character:
    """Return what a reader sees before `start`: not the number of a citation, nor what picks the shape of a character."""
    while start and text[start - 1] == CITATION_END:
        opening = text.rfind(CITATION_START, max(0, start - _MAX_CITATION_CHARS), start)
        if opening < 0:
            break
        start = opening
    sign = text[start - 1] if start else " "
    if start > 1 and _picks_shape(sign) and _is_cjk(text[start - 2]):
        sign = text[start - 2]
    return _Character(sign)


def _after(text: str, end: int, text_end: int) -> _Character:
    while end < text_end and text[end] == CITATION_START:
        closing = text.find(CITATION_END, end, min(text_end, end + _MAX_CITATION_CHARS))
        if closing < 0:
            break
        end = closing + 1
    return _Character(text[end] if end < text_end else " ")


def _seen_before(text: str, start: int) -> str:
    """Return what another parser sees before `start`: a citation has become a link by then."""
    sign = text[start - 1] if start else " "
    return ")" if sign == CITATION_END else sign


def _seen_after(text: str, end: int) -> str:
    sign = text[end] if end < len(text) else " "
    return "[" if sign == CITATION_START else sign


@lru_cache(maxsize=4096)
def _is_cjk(sign: str) -> bool:
    """Tell whether `sign` is written in Chinese, Japanese or Korean: letters, wide punctuation, no emoji."""
    code = ord(sign)
    if any(code in jamo for jamo in _HANGUL_JAMO):
        return True
    is_symbol = category(sign) == "So" and code < _FIRST_RADICAL
    return east_asian_width(sign) in "WFH" and code not in _EMOJI and not is_symbol


def _picks_shape(sign: str) -> bool:
    """Tell whether `sign` is a variation selector."""
    return "\ufe00" <= sign <= "\ufe0f" or "\U000e0100" <= sign <= "\U000e01ef"


Env = MutableMapping[str, Any]

# Quotes and lists nested deeper than this are shown as plain text: each level reads all its lines once more.
_MAX_DEPTH: Final = 16
# A paragraph longer than this is shown as plain text: nobody reads it, and some inline rules take more than linear time.
_MAX_PARAGRAPH_CHARS: Final = 60_000

_LINE_END: Final = re.compile(r"\r\n?")
_SCHEME: Final = re.compile(r"\s*([a-z][a-z0-9+.\-]*):", re.IGNORECASE)
_BARE_URL: Final = re.compile(r"https?://[^\s<>\"'`\\^{}|]+", re.IGNORECASE)
_TASK: Final = re.compile(r"\A\[([ xX])\] ")
_DELIMITER_ROW: Final = re.compile(r"[|:\-][|:\- \t]+")
_BREAK_TAG: Final = re.compile(r"<br ?/?>", re.IGNORECASE)


def render_markdown(text: str, *, remote_images: bool = False, allowance: Allowance | None = None) -> str:
    """Return safe HTML for the Markdown `text` of an answer.

    Args:
        text: Markdown as a model wrote it; untrusted.
        remote_images: Load images from http and https addresses instead of linking to them.
        allowance: How much of the answer may still be rendered, if `text` is a part of it.
    """
    return sanitise(wrap(render_fragment(text, new_env(remote_images=remote_images, allowance=allowance))))


def new_env(*, remote_images: bool, allowance: Allowance | None = None) -> Env:
    """Return the environment of a text, or of a part of one."""
    return {"remote_images": remote_images, "allowance": allowance or Allowance()}


def render_fragment(text: str, env: Env) -> str:
    """Return HTML that is not sanitised yet; `env` carries link definitions and the allowance from one fragment to the next."""
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
    """A top-level block: its tokens, its lines, counted from 0 with the end excluded, and whether it is to be drawn."""

    tokens: list[Token]
    start: int
    end: int
    source: str
    is_admitted: bool


def split_blocks(text: str, env: Env) -> list[MarkdownBlock]:
    """Parse `text` and return its top-level blocks, weighed against the allowance in `env`."""
    allowance = allowance_of(env)
    lines = _LINE_END.sub("\n", text).split("\n")
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
    """Return how much of the answer to which `env` belongs may still be rendered."""
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
    """Return HTML, not sanitised yet, of Markdown that is shown as it was written, and why."""
    return f"{styled(SOURCE_BLOCK, reveal(source), 'pre')}\n{styled(QUIET, reason)}\n"


def parse_blocks(text: str) -> list[Token]:
    """Return the block tokens of `text`, with their lines (`map`), without looking into paragraphs."""
    md = parser()
    tokens: list[Token] = []
    md.block.parse(_LINE_END.sub("\n", text), md, {}, tokens)
    return tokens


def wrap(html: str) -> str:
    """Wrap `html` so that MathJax typesets the formulas found here and nothing else."""
    return f'<div class="{NO_MATH_CLASSES}">\n{html}</div>'


@cache
def parser() -> MarkdownIt:
    """Return the one configured parser. It holds no state between texts."""
    md = MarkdownIt(renderer_cls=_Renderer)
    md.inline = InlineParser()
    md.configure("commonmark", {"html": False, "maxNesting": _MAX_DEPTH + 10})
    md.enable(["table", "strikethrough"])
    md.disable(["html_block", "html_inline"])
    _math.install(md)
    md.block.ruler.before("table", "too_deep", _too_deep)
    md.block.ruler.before("table", "sparse_table", _sparse_table, {"alt": ["paragraph", "reference"]})
    md.inline.ruler.before("autolink", "break_tag", _break_tag)
    md.core.ruler.before("inline", "long_paragraph", _long_paragraph)
    md.core.ruler.before("inline", "task_list", _task_list)
    md.validateLink = _is_harmless_link  # type: ignore[method-assign]
    return md


# Rules


def _too_deep(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    if state.level < _MAX_DEPTH or silent:
        return False
    token = state.push("plain_text", "", 0)
    token.content = state.getLines(start_line, end_line, 0, False)
    token.map = [start_line, end_line]
    state.line = end_line
    return True


def _sparse_table(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Accept a table that would have more cells than characters, most of them empty."""
    if start_line + 2 >= end_line or "|" not in _math.line_of(state, start_line):
        return False
    delimiters = _math.line_of(state, start_line + 1).strip()
    if not _DELIMITER_ROW.fullmatch(delimiters) or state.sCount[start_line + 1] < state.blkIndent:
        return False
    if state.is_code_block(start_line) or state.is_code_block(start_line + 1):
        return False
    columns = len([cell for cell in delimiters.split("|") if cell.strip()])
    row_end = _end_of_rows(state, start_line + 2, end_line)
    written = state.eMarks[row_end - 1] - state.bMarks[start_line]
    if columns * (row_end - start_line - 1) <= written:
        return False
    if not silent:
        token = state.push("sparse_table", "", 0)
        token.content = state.getLines(start_line, row_end, state.blkIndent, False)
        token.map = [start_line, row_end]
        state.line = row_end
    return True


def _end_of_rows(state: StateBlock, line: int, end_line: int) -> int:
    """Return the line after the last row of a table, as markdown-it's own rule finds it."""
    terminators = state.md.block.ruler.getRules("blockquote")
    previous, state.parentType = state.parentType, "table"
    while line < end_line and state.sCount[line] >= state.blkIndent and not state.isEmpty(line):
        if state.is_code_block(line) or any(rule(state, line, end_line, True) for rule in terminators):
            break
        line += 1
    state.parentType = previous
    return line


def _break_tag(state: StateInline, silent: bool) -> bool:
    """Accept `<br>`, the one HTML element that models need: Markdown has no line break inside a table cell."""
    if state.src[state.pos] != "<" or not (tag := _BREAK_TAG.match(state.src, state.pos)):
        return False
    if not silent:
        state.push("hardbreak", "br", 0)
    state.pos = tag.end()
    return True


def _long_paragraph(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == "inline" and len(token.content) > _MAX_PARAGRAPH_CHARS:
            token.type = "plain_text"


def _task_list(state: StateCore) -> None:
    for before, token in zip(state.tokens[1:], state.tokens[2:], strict=False):
        if token.type == "inline" and before.type == "paragraph_open" and before.level >= 2:
            token.content = _TASK.sub(lambda box: "☐ " if box[1] == " " else "☑ ", token.content)


def _is_harmless_link(url: str) -> bool:
    """Tell whether `url` is one we link to, or a relative one, which is shown as its text alone."""
    scheme = _SCHEME.match(url)
    return scheme is None or scheme[1].lower() in SAFE_SCHEMES


def _is_linkable(url: str) -> bool:
    scheme = _SCHEME.match(url)
    return scheme is not None and scheme[1].lower() in SAFE_SCHEMES


# HTML of the tokens


class _Renderer(RendererHTML):
    """Methods are named after the token types they render, as markdown-it looks them up."""

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
        return f'<a href="{escape(url)}"{_title(tokens[idx])}>' if _is_linkable(url) else "<span>"

    def link_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        env["link_depth"] -= 1
        opening = next(token for token in reversed(tokens[:idx]) if token.type == "link_open")
        return "</a>" if _is_linkable(str(opening.attrGet("href") or "")) else "</span>"

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        token = tokens[idx]
        url = str(token.attrGet("src") or "")
        alt = reveal(self.renderInlineAsText(token.children, options, env))
        if not _is_linkable(url) or url.lower().startswith("mailto:"):
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
    # Always explicit: JupyterLab's own rule for tables in HTML output aligns cells to the right, as for data frames.
    wanted = str(token.attrGet("style") or "").removeprefix("text-align:")
    return CELL_ALIGNMENTS.get(wanted, CELL_ALIGNMENTS["left"])


def _formula(tag: str, opening: str, formula: str, closing: str) -> str:
    source = escape(_math.without_labels(formula), quote=False)
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


_WEB: Final = re.compile(r"https?://[^\s/?#]", re.IGNORECASE)
_SAFE_IN_MARKDOWN: Final = "-._~:/?#@!$&'*+,;=%"
_MARKDOWN_MARKS: Final = re.compile(r"([\\`*_{}\[\]()#+.!|<>~$&-])")


def is_web_address(url: str) -> bool:
    """Whether `url` leads to a page of the web: nothing else is linked to."""
    return bool(_WEB.match(url))


def render_link(url: str, label: str, *, tooltip: str = "") -> str:
    """Return a link's HTML, not sanitised yet; the label alone where `url` is no web address."""
    text = escape(reveal(label), quote=False)
    title = f' title="{escape(reveal(tooltip))}"' if tooltip else ""
    if not is_web_address(url):
        return f"<span{title}>{text}</span>"
    return f'<a href="{escape(url)}"{title}>{text}</a>'


def link_in_markdown(url: str, label: str) -> str:
    """Return a link as Markdown that says nothing else; the label alone where `url` is no web address."""
    text = escape_markdown(label)
    return f"[{text}]({quote(url, safe=_SAFE_IN_MARKDOWN)})" if is_web_address(url) else text


def escape_markdown(text: str) -> str:
    """Return `text`, in one line, as Markdown that shows it as it is."""
    return (
        _MARKDOWN_MARKS.sub(r"\\\1", disarmed(" ".join(reveal(text).split())))
        .replace(r"\<", "&lt;")
        .replace(r"\&", "&amp;")
    )


def host_of(url: str) -> str:
    """Return the name of the server that `url` leads to, or ""."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
