r"""The size of rendered output is limited in proportion to the answer: formulas, tables, links and highlighting."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hostile import AMOUNTS
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from snapshots import HERE, snapshot

from claude_magic.render import (
    Column,
    Exchange,
    LiveFrames,
    _markdown,
    neutralise_markdown,
    render_comparison,
    render_reply,
    render_rows,
    render_transcript,
)
from claude_magic.render._answer import render_thinking
from claude_magic.render._frame import GrowingMarkdown
from claude_magic.render._markdown import parser, render_markdown
from claude_magic.render._tex import (
    ARGUMENT_COMMANDS,
    MEASURES,
    SYMBOLS,
    TOO_LARGE,
    TOO_MANY_FORMULAS,
    Allowance,
    weight_of,
)
from claude_magic.runtime import Phase

SPARSE_TABLE = AMOUNTS[0]
MOST_PER_CHARACTER = 60
ALWAYS = 20_000

# Ordinary formulas, none of which may be rejected.
ORDINARY = [
    r"\frac{1}{2}+\sqrt[3]{x^{1000}}",
    r"\sum_{i=1}^{1000} x_i = 10^{12}",
    r"\begin{array}{cc|c} 1000 & 2 \\[10pt] \hline 3 & 4000\end{array}",
    r"\begin{array}{*{3}{c}}1&2&3\end{array}",
    r"\begin{alignat}{3}a&=b&\quad c&=d\end{alignat}",
    r"\begin{pmatrix}1000&2000\\3000&4000\end{pmatrix}",
    r"\begin{cases} 1000 & x>0 \\ 2 & \text{else}\end{cases}",
    r"\begin{align}" + r"\displaystyle a &= \frac{1}{2} \\ " * 70 + r"\end{align}",
    r"{\color{#336699} 1000} + \textcolor{red}{2000} + \colorbox{#ffeecc}{$3000$}",
    r"\ce{C6H12O6 + 6 O2 -> 6 CO2 + 6 H2O}",
    r"\text{50% growth in 2024}",
    r"\hspace{2em} l = 4000 \text{ mm} = 4 m",
    r"X^\mathsf{T} + \hat\theta " * 60,
    r"\operatorname*{argmax}_{\theta \in \Theta} \mathbb{E}_{x \sim p}\left[\log p_\theta(x)\right]",
    r"a \equiv b \pmod{1000000007}",
    r"x \xrightarrow[n\to 1000]{d} \mathcal{N}(0,1)",
    r"\underbrace{a+b}_{n = 1000} \overset{!}{=} \tfrac12 m v^2",
    r"f'''''(x) \not= g''(x)",
    r"[0,1) \\ [2,3)",
    r"\E\left[\norm{x}\right] \in \R^{10}",
    r"\raise1pt{x^{1000}} \rule{1em}{0.4pt}",
]
# More levels than can be typeset, with every way of nesting.
DEEP = [
    *(
        f"{command} " * 100 + "x"
        for command in (r"\raise1pt", r"\lower 2.5ex", r"\moveleft1pt", r"\moveright 1pt", r"\not")
    ),
    *(
        f"{command} " * 100 + "x"
        for command in (r"\textstyle", r"\Huge", r"\color{red}", r"\unheardof", r"\mathpalette")
    ),
    *(
        command * 100 + "x"
        for command in (r"\hat", r"\sqrt", r"\frac", r"\overline", r"\mathrm", r"\hbox", r"\sqrt[")
    ),
    *(
        f"{command}{{" * 70 + "x" + "}" * 70
        for command in (r"\sqrt", r"\mathchoice", r"\smash", "x^", "x_", r"\text", "")
    ),
    r"\left(" * 70 + "x" + r"\right)" * 70,
    r"\begin{matrix}" * 70 + "x" + r"\end{matrix}" * 70,
    r"\UnaryInfC{$x$}" * 100,
    "{%}\n" * 100 + "}%{\n" * 99 + "}%{",
    r"\verb|{|" * 100,
]
# Counts in every position, and macros that multiply themselves.
COUNTS = [
    r"\begin{alignat}{99999999}a\end{alignat}",
    r"\begin{alignat*}{ 9999 }a\end{alignat*}",
    r"\begin {xalignat} {9999}a\end{xalignat}",
    "\\begin{alignedat}\n[t]{9999}a\\end{alignedat}",
    "\\begin{alignat}%\n{9999}a\\end{alignat}",
    r"\begin{array}{*{9999}{c}}a\end{array}",
    r"\begin{array}{*{99}{*{99}{c}}}a\end{array}",
    r"\begin{unheardof}[9999]a\end{unheardof}",
    r"\begin{unheardof}x{9999}a\end{unheardof}",
    r"\multicolumn{9999}{c}{x}",
    r"\xmat{x}{99}{99}",
    r"\xmat x{99}{99}",
    r"\xmat\alpha{99}{99}",
    r"\imat[\kern1pt][99999]",
    r"\romannumeral 99999999 x",
    r"\pmb{" * 10 + "x" + "}" * 10,
    r"\unheardof{" * 10 + "x" + "}" * 10,
]
LENGTHS = [
    r"\hspace{9999em}x",
    r"\hspace{99em}" * 10,
    r"\kern 999cm x",
    r"\mkern-9999mu x",
    r"\rule{300em}{1em}",
    r"a\\[9999pt]b",
    r"a\\ [ 9999pt ]b",
    r"\raise 5000pt x",
    r"{a \above 9999pt b}",
    r"\genfrac(){9999pt}{1}{a}{b}",
    r"\begin{array}{p{9999em}}x\end{array}",
    r"\overbracket[999em][99em]{x}",
    r"\hskip 1000 em x",
    r"\unheardof{9999px}",
    r"\hspace{" + "9" * 400 + "em}",
]


@pytest.mark.parametrize("formula", ORDINARY)
def test_an_ordinary_formula_is_typeset(formula: str) -> None:
    """The limits are far above those of real formulas."""
    assert weight_of(formula) is not None
    assert "mathjax_process" in render_markdown(f"$$\n{formula}\n$$")


@pytest.mark.parametrize("formula", [*DEEP, *COUNTS, *LENGTHS])
def test_a_formula_that_would_stop_the_page_is_shown_as_its_source(formula: str) -> None:
    """In all our formats, and in the Markdown for other front ends."""
    assert weight_of(formula) is None
    for text in (f"$$\n{formula}\n$$", f"So \\({formula}\\) is."):
        assert "mathjax_process" not in render_markdown(text)
        html = MarkdownIt("commonmark").render(neutralise_markdown(text))
        outside = re.sub(r"<code.*?</code>", "", html, flags=re.DOTALL)
        assert not re.search(r"\$\$|\\\(", outside)
    math = snapshot(("text", f"So \\({formula}\\) is."), format="math")
    assert "mathjax_process" not in render_reply(math).data["text/html"]


@settings(max_examples=300, deadline=None)
@given(
    names=st.lists(st.from_regex(r"\\[A-Za-z]{3,8}", fullmatch=True), min_size=1, max_size=3),
    argument=st.sampled_from(["", "1pt", "{x}", " ", "[x]", "x"]),
)
def test_no_command_that_nobody_knows_nests_without_end(names: list[str], argument: str) -> None:
    """There is no list of dangerous commands that could be incomplete: an unlisted command counts as a level."""
    if all(name[1:] in SYMBOLS | ARGUMENT_COMMANDS | MEASURES for name in names):
        return

    assert weight_of((" ".join(names) + argument) * 80 + "x") is None


@pytest.mark.parametrize(
    "text",
    [
        *(f"a {opening} {formula} {closing} b" for formula in ("{" * 99 + "}" * 99, r"\raise1pt" * 99 + "x") for opening, closing in (("$", "$"), (r"\$", r"\$"), (r"\\(", r"\\)"), (r"\\[", r"\\]"))),
        *(f"a {formula} b" for formula in COUNTS if formula.startswith(r"\begin{") and "unheard" not in formula),
        "a $ " + "{%}\n" * 99 + "x $",
        "- a $ " + "{" * 99 + "}" * 99 + " $ and $x$ b",
        "| a |\n|---|\n| $ " + "{" * 99 + "}" * 99 + " $ |",
    ],
)  # fmt: skip
def test_what_is_no_formula_for_us_becomes_none_for_others_if_it_would_do_harm(text: str) -> None:
    """Other front ends may find formulas in our Markdown, so harmful delimiters are disabled."""
    html = MarkdownIt("commonmark").enable("table").render(neutralise_markdown(text))

    outside = re.sub(r"<code>.*?</code>", "", html, flags=re.DOTALL).replace("$x$", "")
    assert not re.search(r"\$|\\[(\[]|\\begin", outside)


@pytest.mark.parametrize(
    "text", ["costs $5 and $10", r"costs \$5 and \$10", r"C:\temp and $5, $6", "{a} $5 {b} $6 }"]
)
def test_amounts_of_money_stay_as_they_are(text: str) -> None:
    """Harmless dollar signs are not changed."""
    assert neutralise_markdown(text) == text


def test_the_work_of_a_formula_is_bounded_also_where_each_part_is_small() -> None:
    """With many characters, or with fewer at a large depth."""
    assert weight_of("x+" * 1_000) is not None
    assert weight_of("x+" * 2_000) is None
    assert weight_of("{" * 50 + "x+" * 500 + "}" * 50) is None


def test_the_formulas_of_a_whole_answer_are_bounded_and_a_word_says_so() -> None:
    """Further formulas are shown as source: in HTML, in Markdown, in `-f math`, while growing, and across thinking
    and several texts."""
    formula = "$" + "x+" * 500 + "y$"
    text = f"Here is {formula}.\n\n" * 60

    def typeset(html: str) -> int:
        return html.count("mathjax_process")

    whole = render_markdown(text)
    growing = GrowingMarkdown()
    for length in range(0, len(text), 997):
        growing.update(text[:length])
    plan = growing.update(text, is_final=True)
    split = snapshot(("thinking", text[: len(text) // 2]), ("text", text[len(text) // 2 :]))

    assert 15 <= typeset(whole) <= 25
    assert typeset("".join(block.html for block in plan.blocks)) == typeset(whole)
    assert typeset(render_reply(split).data["text/html"]) == typeset(whole)
    assert typeset("".join(LiveFrames().last_slots(split))) == typeset(whole)
    assert typeset(render_reply(snapshot(("text", text), format="math")).data["text/html"]) == typeset(whole)
    assert neutralise_markdown(text).count("$") == 2 * typeset(whole)
    assert whole.count(TOO_MANY_FORMULAS) == 1
    assert "".join(block.html for block in plan.blocks).count(TOO_MANY_FORMULAS) == 1


@pytest.mark.parametrize("text", AMOUNTS)
def test_little_does_not_become_very_much(text: str) -> None:
    """In every rendering of an answer, also while it grows."""
    reply = snapshot(("text", text))
    columns = [Column(name="opus", kept_in="out", answer=reply)] * 2
    growing = GrowingMarkdown()
    for length in range(0, len(text), max(1, len(text) // 20)):
        growing.update(text[:length])

    pictures = [
        render_markdown(text),
        render_thinking(text, allowance=Allowance()),
        "".join(block.html for block in growing.update(text, is_final=True).blocks),
        "".join(LiveFrames().slots(reply, 0.0)),
        render_reply(reply).data["text/html"],
        "".join(
            bundle.data["text/html"]
            for bundle in render_transcript(Exchange(question="?", answer=reply), **HERE)
        ),
    ]

    most = ALWAYS + MOST_PER_CHARACTER * len(text)
    assert [len(html) for html in pictures if len(html) > most] == []
    assert len(render_comparison(columns).data["text/html"]) <= 2 * most
    assert len(neutralise_markdown(text)) <= 3 * len(text) + 100


def test_many_small_things_are_bounded_together() -> None:
    """For example sixteen tables of moderate size; the text after them is rendered normally."""
    table = "|a" * 40 + "|\n" + "|-" * 40 + "|\n" + "|\n" * 3 + "\n"
    references = "[x]: https://ok.example/" + "a" * 1_900 + "\n\n" + "[x]\n\ny\n\n" * 500
    for text in (table * 100, references):
        html = render_markdown(text)

        assert len(html) <= ALWAYS + MOST_PER_CHARACTER * len(text)

    assert TOO_LARGE in render_markdown(references)
    assert "<strong>after</strong>" in render_markdown(f"{SPARSE_TABLE}\n\n**after**")


@pytest.mark.parametrize("prefix", ["", "> ", "  "])
def test_a_sparse_table_is_shown_as_it_was_written_and_a_word_says_why(prefix: str) -> None:
    """Its source is complete, and other parsers do not expand it either."""
    lines = SPARSE_TABLE.splitlines()
    text = "\n".join(prefix + line for line in lines)
    text = "-" + text[1:] if prefix == "  " else text

    html = render_markdown(text)
    by_others = MarkdownIt("commonmark").enable("table").render(neutralise_markdown(text))

    assert html.count("|a") == 256
    assert TOO_LARGE in html
    assert "<table" not in html
    assert "<table" not in by_others


def test_an_ordinary_table_is_drawn_even_if_rows_are_short() -> None:
    """Missing cells are filled in."""
    html = render_markdown("| name | value | remark |\n|---|---|---|\n| a |\n| b | 2 |\n" * 1)

    assert html.count("<td") == 6
    assert TOO_LARGE not in html


@pytest.mark.parametrize(
    "text",
    [
        "# Part\n\n- a\n- b\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n[x](https://e.org) `c`\n\n",
        "- a\n",
        "|a|\n|-|\n|b|\n\n",
        "*a* **b** ~~c~~\n\n",
    ],
)
def test_an_ordinary_answer_of_any_length_is_drawn(text: str) -> None:
    """The allowance grows with the length of the answer."""
    assert TOO_LARGE not in render_markdown(text * 2_000)


def test_twice_the_answer_is_twice_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of tokens for hostile texts of increasing length."""

    def tokens(rows: int) -> int:
        text = "|a" * rows + "|\n" + "|-" * rows + "|\n" + "|\n" * rows
        return len(parser().parse(text, {}))

    counts = [tokens(rows) for rows in (64, 128, 256, 512)]

    assert all(second <= 2.2 * first for first, second in pairwise(counts))


def test_colours_never_outgrow_the_code_many_times() -> None:
    """Code in which each character would have its own colour is not highlighted."""
    code = "a=b+" * 500

    html = render_markdown(f"```python\n{code}\n```")

    assert code in html
    assert len(html) < 2 * len(code)


@pytest.mark.parametrize("language", sorted(_markdown._LANGUAGES))
def test_each_language_is_coloured_in_steps_that_look_no_further_than_a_window(language: str) -> None:
    """A pattern that would repeatedly search the whole code ends at the end of the window."""
    lexer = _markdown._lexer(language)
    assert lexer is not None
    code = "word = 1  # of it\n" * 30

    assert "".join(text for _, text in _markdown._tokens(lexer, code)) == code
    patterns = getattr(type(lexer), "_tokens", {})
    assert all(rule[0].__name__ == "match_in_window" for rules in patterns.values() for rule in rules)


def test_a_lexer_that_takes_too_long_leaves_the_rest_without_colours() -> None:
    """CPU time of the thread counts, so the load of the machine does not matter; no character is lost."""
    seconds = iter(range(10_000))
    lexer = _markdown._lexer("python")
    assert lexer is not None
    code = "x = 1\n" * 100

    tokens = list(_markdown._tokens(lexer, code, clock=lambda: next(seconds) / 100))

    assert "".join(text for _, text in tokens) == code
    assert tokens[-1][0] is None
    assert len(tokens) < 40


def test_a_long_cell_of_our_own_tables_does_not_make_all_others_long() -> None:
    """In plain text, cells are padded to a readable width."""
    rows = [("x" * 10_000, "1"), *[("a", "2")] * 100]

    data = render_rows([("", rows)]).data

    assert len(data["text/plain"]) < 10_000 + 100 * 100


@pytest.mark.parametrize(
    "html",
    [
        "<table><tr><td colspan=9999>x</td></tr></table>",
        "<table><tr><td rowspan=65534>x</td></tr></table>",
        "<table><col span=9999><tr><td>x</td></tr></table>",
        '<div style="display:grid;grid-template-columns:repeat(99999,1fr)">x</div>',
        '<div style="display:grid;grid-template-rows:repeat( 99999 , minmax(1px,1fr))">x</div>',
        '<div style="grid-column:99999 / span 99999">x</div>',
        '<div style="columns:99999">x</div>',
    ],
)
def test_html_of_a_model_asks_for_no_great_number_of_columns(html: str) -> None:
    """Counts in attributes and styles are limited, like those in formulas."""
    shown = render_reply(snapshot(("text", html), format="html")).data["text/html"]

    assert ">x<" in shown
    assert not re.search(r"9999|6553", shown)


def test_html_of_a_model_keeps_counts_that_are_small() -> None:
    """And widths, which are not counts."""
    html = '<table width="100%"><tr><td colspan="3" style="grid-template-columns:repeat(3,200px)">x</td></tr></table>'

    shown = render_reply(snapshot(("text", html), format="html")).data["text/html"]

    assert 'colspan="3"' in shown
    assert "repeat(3,200px)" in shown


def test_a_label_between_the_halves_of_a_command_makes_no_command() -> None:
    """A label that is removed from a formula leaves a space."""
    html = render_markdown(r"$\hre\label{x}f{javascript:window.pwned=1}{click}$")

    assert r"\href" not in html


def test_a_stopped_answer_is_bounded_as_well() -> None:
    """At any length."""
    reply = snapshot(("text", SPARSE_TABLE), phase=Phase.CANCELLED)

    assert len(render_reply(reply).data["text/html"]) < 10_000
