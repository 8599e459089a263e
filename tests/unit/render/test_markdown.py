"""Markdown as models write it, and its rendering."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape, unescape

import pytest
from answers import CONSTRUCTS
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from claude_magic.render import neutralise_markdown
from claude_magic.render._frame import GrowingMarkdown
from claude_magic.render._markdown import render_markdown

from ..work_done import calls_made


def body(text: str) -> str:
    """Return the HTML of `text` without the container around it."""
    html = render_markdown(text).removeprefix('<div class="mathjax_ignore tex2jax_ignore">\n')
    return html.removesuffix("</div>").strip()


def formulas(text: str) -> list[str]:
    """Return the formulas of `text` that would be typeset."""
    return [
        unescape(found)
        for found in re.findall(r'_process">(.*?)</(?:span|div)>', render_markdown(text), re.DOTALL)
    ]


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("# Title", "<h1>Title</h1>"),
        ("**a** *b* `c` ~~d~~", "<p><strong>a</strong> <em>b</em> <code>c</code> <s>d</s></p>"),
        ("one<br>two", "<p>one<br>\ntwo</p>"),
        ("3. three\n4. four", '<ol start="3">\n<li>three</li>\n<li>four</li>\n</ol>'),
        ("- [ ] open\n- [x] done", "<ul>\n<li>☐ open</li>\n<li>☑ done</li>\n</ul>"),
        ("[file](data.csv)", "<p><span>file</span></p>"),
        ("1 < 2 & 3 > 2", "<p>1 &lt; 2 &amp; 3 &gt; 2</p>"),
        ("<b>bold</b>", "<p>&lt;b&gt;bold&lt;/b&gt;</p>"),
    ],
)
def test_the_usual_constructs_become_plain_html(markdown: str, html: str) -> None:
    """With the elements that notebooks style."""
    assert body(markdown) == html


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("see https://example.org/a.", "https://example.org/a"),
        ("(see https://example.org/a)", "https://example.org/a"),
        ("https://example.org/a_(b), and", "https://example.org/a_(b)"),
        ("<https://example.org/a>", "https://example.org/a"),
    ],
)
def test_a_bare_address_becomes_a_link_without_the_punctuation_around_it(text: str, address: str) -> None:
    """Models often write bare URLs in sentences."""
    assert f'<a href="{address}" target="_blank" rel="noopener noreferrer">{address}</a>' in body(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$x$", [r"\(x\)"]),
        (r"\(x\) and \(y\)", [r"\(x\)", r"\(y\)"]),
        ("$a_b + c_d$ and $e*f*g$", [r"\(a_b + c_d\)", r"\(e*f*g\)"]),
        ("$5x + 3$ and $2^n$", [r"\(5x + 3\)", r"\(2^n\)"]),
        ("so $$x$$ then", [r"\[x\]"]),
        (r"so \[x\] then", [r"\[x\]"]),
        ("$$\nx\n= y\n- z\n$$", ["\\[x\n= y\n- z\\]"]),
        ("\\[\nx\n\\]", [r"\[x\]"]),
        ("$$x$$.", [r"\[x.\]"]),
        ("$$\nx\n$$ where $y$ is", [r"\[x\]", r"\(y\)"]),
        ("\\begin{align}\na &= b\n\\end{align}", ["\\[\\begin{align}\na &= b\n\\end{align}\\]"]),
        ("- item\n\n  $$\n  x\n  $$", [r"\[x\]"]),
        ("| a |\n|---|\n| $x$ |", [r"\(x\)"]),
        (r"$\left\{ x \right.$", [r"\(\left\{ x \right.\)"]),
        (r"$$x \label{eq:1}$$", [r"\[x \]"]),
        ("from $5 to $x$", [r"\(x\)"]),
        ("It holds that $E = mc^2$ for $5.", [r"\(E = mc^2\)"]),
        ("$f(x) = 5$ costs $5", [r"\(f(x) = 5\)"]),
        ("the $n$-th, ($x$), $y$, and $z$.", [r"\(n\)", r"\(x\)", r"\(y\)", r"\(z\)"]),
        ("$1/2$ and $-1$ and $0.5 \\le p$", [r"\(1/2\)", r"\(-1\)", r"\(0.5 \le p\)"]),
        ("$n = 100$, $100 = n$", [r"\(n = 100\)", r"\(100 = n\)"]),
        ("$]0, 1[$ or $[0, 1)$", [r"\(]0, 1[\)", r"\([0, 1)\)"]),
        ("$f'$ and $(1, 2)$", [r"\(f'\)", r"\((1, 2)\)"]),
        ("costs \\$5, so \\(x < 5\\) and \\[ y \\]", [r"\(x < 5\)", r"\[y\]"]),
    ],
)
def test_formulas_in_all_the_marks_that_models_use_are_typeset(text: str, expected: list[str]) -> None:
    """Dollars, brackets and environments, in text, blocks, lists and tables; they contain no Markdown."""
    assert formulas(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $10.",
        "from $5 to $10",
        "between $5 (low) and $10 (high)",
        "US$5 or CA$6",
        "$5-$10, or $1,000/$2,000",
        "a $5 bill, and 10$ more",
        "$HOME and $PATH, $HOME/$USER",
        "100$ and 200$",
        "$ 5 $ 6",
        "`$x$` and `\\(y\\)`",
        "```\n$x$\n```",
        "a \\$5 b \\$6",
        "$",
        "$$",
        "$$$$",
        "$$ is the process id",
        "only \\( opened",
        "only closed \\)",
        "$5/month vs $10/month",
        "$5M and $6M, up from $5.99–$7.99",
        "**$5** vs **$10**, *$5* and *$6*",
        "$20-30 or $40-50",
        "costs $5, $6, or $7",
        "~$5 + ~$6, ($5) and ($6)",
        "$5 = €4.6 and $6 = €5.5",
        "$5 < $10, or $10 > $5",
        "save $5 + $3 shipping, pay $5+$6=$11",
        "price: $5\nother: $6",
        "| $5 | $6 |\n|---|---|\n| $7 | $8 |",
        "A costs $3 * 2 = $6",
        "Pay $100 (10% of $1000)",
        "stocks $AAPL and $MSFT",
        "in $/kg and $/m",
        "the sign ($) or ($), '$' or '$', “$” and “$”",
        "$, €, and $.",
        "use $? and $! in bash",
    ],
)
def test_money_variables_and_code_are_no_formulas(text: str) -> None:
    """Other dollar signs stay dollar signs."""
    assert formulas(text) == []


X = r'<span class="mathjax_process tex2jax_process">\(x\)</span>'


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("so $x$, and", f"so <|{X},|> and"),
        ("is \\(x\\).", f"is <|{X}.|>"),
        ("($x$), “$x$”", f"<|({X}),|> <|“{X}”|>"),
        ("($x$)($x$)", f"<|({X})|><|({X})|>"),
        ("$x$,$x$;", f"<|{X},|><|{X};|>"),
        ("**$x$**, ($x$", f"<|<strong>{X}</strong>,|> <|({X}|>"),
        ("$x$-dimensional, \\(x\\)th", f"<|{X}-|>dimensional, <|{X}th|>"),
        ("$x$，因此", f"<|{X}，|>因此"),
        ("alone $x$ too, a", f"alone {X} too, a"),
        ("is \\(x\\)whatever", f"is {X}whatever"),
    ],
)
def test_what_stands_beside_a_formula_stays_in_its_line(text: str, html: str) -> None:
    """Browsers may break lines next to a formula as next to an image, and a line would begin with a comma."""
    unbroken = html.replace("<|", '<span style="white-space:nowrap">').replace("|>", "</span>")
    assert body(text) == f"<p>{unbroken}</p>"


def test_a_long_formula_may_be_broken_off() -> None:
    """Otherwise it could be wider than its column. Display formulas and the source of growing ones are not affected."""
    long = f"${'x + ' * 20}y$, and"

    assert "nowrap" in render_markdown("$x + y$, and")
    assert "nowrap" not in render_markdown(long)
    assert "nowrap" not in render_markdown("$$x$$, and")
    assert "nowrap" not in GrowingMarkdown().update("$x + y$, and").tail.html


def test_mathjax_is_kept_away_from_all_that_our_parser_took_for_text() -> None:
    """MathJax ignores the answer except for the formulas."""
    html = render_markdown("$5 and $6, but $x$")

    assert html.startswith('<div class="mathjax_ignore tex2jax_ignore">')
    assert html.count("mathjax_process") == 1


def test_code_is_coloured_in_the_colours_of_the_theme() -> None:
    """With inline styles that use variables of the theme; the text of the code is unchanged."""
    code = "def f(x: int) -> str:\n    return '<b>'  # $x$ & so on\n"
    html = body(f"```python\n{code}```")

    assert "color:var(--jp-mirror-editor-keyword-color)" in html
    assert "color:var(--jp-mirror-editor-comment-color)" in html
    assert (
        unescape(re.sub(r"<[^>]*>", "", html)) == code.rstrip("\n")
        or unescape(re.sub(r"<[^>]*>", "", html)) == code
    )


@pytest.mark.parametrize("info", ["", "klingon", "python3.11", "{.python .numberLines}", "PYTHON"])
def test_code_in_a_language_we_do_not_know_is_plain(info: str) -> None:
    """Only known languages are highlighted, in any case of letters; the code is always shown."""
    html = body(f"```{info}\nx = 1\n```")

    assert ("<span" in html) is (info == "PYTHON")
    assert "x" in re.sub(r"<[^>]*>", "", html)


def test_very_long_code_is_not_coloured() -> None:
    """So that no code block delays a frame."""
    assert "<span" not in body("```python\n" + "x = 1\n" * 10_000 + "```")


def test_table_cells_say_their_alignment() -> None:
    """JupyterLab right-aligns tables in HTML output, as for data frames, so ours are explicit."""
    html = body("| a | b | c |\n|---|:-:|--:|\n| 1 | 2 | 3 |")

    assert re.findall(r'<td style="text-align:(\w+)">', html) == ["left", "center", "right"]


def test_a_link_in_a_link_is_not_written() -> None:
    """An image inside a link, such as a badge, becomes the text of the link."""
    html = body("[![badge](https://example.org/b.svg)](https://example.org)")

    assert html.count("<a ") == 1
    assert ">badge</a>" in html


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab \n-*_`~#>|[]()!<&$\\{}1.:/\r\t\x00\u2028é", max_size=80))
def test_any_text_at_all_can_be_rendered(text: str) -> None:
    """No text raises, in any of the three renderings."""
    render_markdown(text)
    neutralise_markdown(text)
    GrowingMarkdown().update(text)


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_markdown_without_danger_is_handed_on_with_its_meaning(name: str) -> None:
    """The `text/markdown` of an ordinary answer renders like the answer."""
    plain = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

    assert plain.render(neutralise_markdown(CONSTRUCTS[name])) == plain.render(CONSTRUCTS[name])


@pytest.mark.parametrize(
    ("text", "handed_on"),
    [
        ("a <b>bold</b> word", "a &lt;b>bold&lt;/b> word"),
        ("`Vec<T>` and `<p>`", "`Vec<T>` and `<p>`"),
        ("`<script>`", "`&lt;script>`"),
        ("![cat](https://e.org/c.png)", "\\![cat](https://e.org/c.png)"),
        ("[x](javascript:y)", "[x]\\(javascript:y)"),
        ("[x](https://e.org) <https://e.org>", "[x](https://e.org) <https://e.org>"),
        ("$a<b$ and a < b", "$a< b$ and a < b"),
        ("$\\href{javascript:x}{y}$", "`` \\href{javascript:x}{y} ``"),
        ("text\n~~~html x=y\n<p>\n~~~", "text\n\n```html\n<p>\n```"),
        ("```\nopen", "```\nopen\n```"),
    ],
)
def test_what_is_changed_in_text_markdown_still_reads_the_same(text: str, handed_on: str) -> None:
    """Changes are as small as possible."""
    assert neutralise_markdown(text) == handed_on


# Input made to hurt

PATHOLOGICAL: dict[str, Callable[[int], str]] = {
    "opening brackets": lambda n: "[" * n,
    "half links": lambda n: "[a](" * n,
    "half images": lambda n: "![" * n,
    "nested brackets": lambda n: "[" * n + "]" * n,
    "stars": lambda n: "*" * n,
    "stars and words": lambda n: "*a **b _c " * n,
    "ticks": lambda n: "`" * n,
    "ticks of many lengths": lambda n: "".join("a" + "`" * length for length in range(1, int(n**0.5) * 2)),
    "quotes in quotes": lambda n: ">" * n,
    "lists in lists": lambda n: "- " * n,
    "staircase of lists": lambda n: "".join("  " * depth + "- a\n" for depth in range(int(n**0.5))),
    "lazy quote": lambda n: ">" * 40 + "\n" + "a\n" * n,
    "dollars": lambda n: "$" * n,
    "dollars and words": lambda n: "$a " * n,
    "opening formulas": lambda n: "\\(" * n,
    "lines that open formulas": lambda n: "\\[ x\n$$ y\n" * n,
    "closed and opened formulas": lambda n: "$$\nx\n$$ y\n" * n,
    "environments": lambda n: "\\begin{align}\n" * n,
    "less-than signs": lambda n: "<a" * n,
    "ampersands": lambda n: "&a" * n,
    "backslashes": lambda n: "\\" * n,
    "bare addresses": lambda n: "http://a( " * n,
    "definitions": lambda n: "".join(f"[a{number}]: x\n" for number in range(n)),
    "wide table": lambda n: "|" * n + "\n" + "|-" * n + "\n",
    "fences": lambda n: "```\n" * n,
    "tabs": lambda n: "\t" * n + "a",
    "blank lines": lambda n: "\n" * n,
    "one word": lambda n: "a" * n * 10,
}


@pytest.mark.parametrize("name", PATHOLOGICAL)
@pytest.mark.parametrize(
    "render", [render_markdown, neutralise_markdown, lambda text: GrowingMarkdown().update(text)]
)
def test_input_made_to_hurt_costs_in_proportion_to_its_length(
    name: str, render: Callable[[str], object]
) -> None:
    """Four times the length is at most about four times the work."""
    render("warm up $x$ `y`")
    small, large = PATHOLOGICAL[name](500), PATHOLOGICAL[name](2_000)

    work = [calls_made(lambda text=text: render(text)) for text in (small, large)]  # type: ignore[misc]

    assert work[1] <= 6 * work[0] + 2_000


@pytest.mark.parametrize("piece", ["a", "[", "*a ", "\\(", "<a"])
def test_a_megabyte_in_one_line_is_shown_as_plain_text(piece: str) -> None:
    """All characters are shown, without inline Markdown."""
    text = (piece * (1_000_000 // len(piece))).strip()

    is_plain = body(text).replace("\n", "") == f"<p>{escape(text, quote=False)}</p>"

    assert is_plain  # not in the assert: a failed comparison would print megabytes
