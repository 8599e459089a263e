"""Emphasis next to Chinese, Japanese and Korean characters, here and in Markdown for other front ends."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from snapshots import snapshot

from claude_magic.render import _syntax, neutralise_markdown, render_reply
from claude_magic.render._frame import GrowingMarkdown
from claude_magic.render._markdown import parser, render_markdown
from claude_magic.runtime import BlockSnapshot

# Markdown, and its strong, emphasised or struck parts, each with its element.
EMPHASIS = {
    "chinese colon": ("**结论：**样本", ["<strong>结论：</strong>"]),
    "chinese stop": ("他说：**你好。**然后走了", ["<strong>你好。</strong>"]),
    "chinese quotes": ("这是**“重点”**的内容", ["<strong>“重点”</strong>"]),
    "chinese brackets": ("样本**（共 30 个）**的均值", ["<strong>（共 30 个）</strong>"]),
    "chinese ascii brackets": ("方差**(variance)**很大", ["<strong>(variance)</strong>"]),
    "latin after": ("**注意：**NumPy 数组", ["<strong>注意：</strong>"]),
    "latin before": ("用pandas**「表」**做", ["<strong>「表」</strong>"]),
    "japanese": ("これは**「重要」**です。", ["<strong>「重要」</strong>"]),
    "japanese stop": ("**終わり。**次へ", ["<strong>終わり。</strong>"]),
    "japanese comma": ("また、**平均、**分散", ["<strong>平均、</strong>"]),
    "half-width kana": ("**｢ﾃｽﾄ｣**ﾃﾞｽ", ["<strong>｢ﾃｽﾄ｣</strong>"]),
    "korean particle": ("**강조(emphasis)**는 중요합니다", ["<strong>강조(emphasis)</strong>"]),
    "korean quotes": ("그는 **'평균'**을 구했다", ["<strong>'평균'</strong>"]),
    "korean letters apart": ("**\u1100\u1161(a)**\u1102\u1173\u11ab", ["<strong>\u1100\u1161(a)</strong>"]),
    "korean percent": ("**50%**의 확률", ["<strong>50%</strong>"]),
    "emphasis": ("*结论：*样本", ["<em>结论：</em>"]),
    "emphasis in brackets": ("这是*《书名》*吗", ["<em>《书名》</em>"]),
    "both": ("***重要：***样本", ["<em><strong>重要：</strong></em>"]),
    "struck": ("~~旧值：~~新值", ["<s>旧值：</s>"]),
    "struck in brackets": ("价格~~（旧）~~新", ["<s>（旧）</s>"]),
    "nested": ("**外层*内：*外层。**后", ["<em>内：</em>", "<strong>外层<em>内：</em>外层。</strong>"]),
    "nested struck": ("**~~删除。~~**后", ["<s>删除。</s>", "<strong><s>删除。</s></strong>"]),
    "struck outside": ("~~**删除。**~~后", ["<s><strong>删除。</strong></s>"]),
    "an opening pair": ("前**~~（删除）~~**", ["<strong><s>（删除）</s></strong>"]),
    "between two": ("**甲（一）***乙*", ["<strong>甲（一）</strong>", "<em>乙</em>"]),
    "a link inside": ("**见[文档](https://e.org)**吧", ["<strong>见"]),
    "code inside": ("**用`df.mean()`**算", ["<strong>用<code"]),
    "code at both ends": ("先**`a`**后", ["<strong><code"]),
    "two in a row": ("**一：**甲**二：**乙", ["<strong>一：</strong>", "<strong>二：</strong>"]),
    "a rare form of a character": ("葛\U000e0100**「城」**市", ["<strong>「城」</strong>"]),
    "in a list": ("- **结论：**样本\n- *二。*三", ["<strong>结论：</strong>", "<em>二。</em>"]),
    "in a table": (
        "| 甲 | 乙 |\n|---|---|\n| **一：**甲 | ~~二。~~乙 |",
        ["<strong>一：</strong>", "<s>二。</s>"],
    ),
    "in a heading": ("## **第一章：**引言", ["<strong>第一章：</strong>"]),
    "in a quotation": ("> **注：**引言", ["<strong>注：</strong>"]),
    "at the end of a line": ("前文**「甲」**\n乙", ["<strong>「甲」</strong>"]),
}
# Text without emphasis.
NONE = [
    "a ** b ** c",
    "\\**结论：**样本",
    "`**结论：**样本`",
    "** 结论：**样本",
    "**结论： **样本",
    "__结论：__样本",
]
# From section 6.2 of CommonMark 0.31.2.
EXAMPLES = """*foo bar*|a * foo bar*|a*"foo"*|* a *|*$*alpha.|*£*bravo.|*€*charlie.|foo*bar*|5*6*78|_foo bar_|_ foo bar_|a_"foo"_
foo_bar_|5_6_78|пристаням_стремятся_|aa_"bb"_cc|foo-_(bar)_|_foo*|*foo bar *|*(*foo)|*(*foo*)*|*foo*bar|_(_foo)|_(_foo_)_|_foo_bar
_(bar)_.|**foo bar**|** foo bar**|a**"foo"**|foo**bar**|__ foo bar__|a__"foo"__|foo__bar__|foo-__(bar)__|**foo bar **|**(**foo)
*(**foo**)*|**foo "*bar*" foo**|**foo**bar|__(__foo)|_(__foo__)_|__foo__bar|__(bar)__.|*foo **bar** baz*|*foo**bar**baz*|*foo**bar*
***foo** bar*|*foo **bar***|*foo**bar***|foo***bar***baz|foo******bar*********baz|** is not an empty emphasis|foo ***|foo *\\**|foo *_*
**foo*|*foo**|***foo**|****foo*|**foo***|*foo****|*foo _bar* baz_|**foo **bar baz**|*a `*`*|**a<https://foo.bar/?q=**>""".replace(
    "|", "\n"
).split("\n")
LANGUAGES = pytest.mark.parametrize("name", EMPHASIS)


def render_by_commonmark(markdown: str) -> str:
    """Return the HTML of a parser that follows CommonMark exactly."""
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)


def elements(html: str) -> list[str]:
    """Return the emphasis elements in HTML with their content, without invisible characters."""
    plain = unescape(html.replace("\N{WORD JOINER}", ""))
    return re.findall(r"</?(?:strong|em|s)>", plain)


@LANGUAGES
def test_emphasis_beside_wide_punctuation_is_emphasis(name: str) -> None:
    """As readers of these languages expect, and not asterisks."""
    markdown, expected = EMPHASIS[name]

    html = unescape(render_markdown(markdown))

    assert [part for part in expected if part not in html] == []
    assert "*" not in html
    assert "~~" not in html


@LANGUAGES
def test_other_parsers_see_the_same_in_our_markdown(name: str) -> None:
    """Other parsers lack the amendment, so `text/markdown` contains an invisible character instead."""
    markdown, expected = EMPHASIS[name]

    shared = neutralise_markdown(markdown)

    html = unescape(render_by_commonmark(shared)).replace("\N{WORD JOINER}", "")
    assert [part for part in expected if part not in html] == []
    assert shared.replace("\N{WORD JOINER}", "") == markdown


@LANGUAGES
def test_it_is_emphasis_in_a_saved_reply_in_every_form(name: str) -> None:
    """In HTML and Markdown; the plain text is exactly that of the model."""
    markdown, _ = EMPHASIS[name]

    data = render_reply(snapshot(("text", markdown))).data

    assert elements(data["text/html"]) == elements(render_by_commonmark(data["text/markdown"])) != []
    assert data["text/plain"] == markdown


@LANGUAGES
def test_it_is_emphasis_at_the_end_of_a_growing_answer(name: str) -> None:
    """Rendered character by character, the result is the same."""
    markdown, _ = EMPHASIS[name]
    growing = GrowingMarkdown()
    for length in range(len(markdown)):
        growing.update(markdown[:length])

    assert elements(growing.update(markdown, is_final=True).tail.html) == elements(render_markdown(markdown))


@pytest.mark.parametrize("markdown", NONE)
def test_what_is_no_emphasis_stays_as_it_is(markdown: str) -> None:
    """Spaces and escapes prevent it, code does too, and `_` never works inside words."""
    assert elements(render_markdown(markdown)) == []
    assert neutralise_markdown(markdown).replace("\N{WORD JOINER}", "") == markdown
    assert elements(render_by_commonmark(neutralise_markdown(markdown))) == []


@pytest.mark.parametrize("mark", ["**", "*", "~~"])
def test_a_citation_between_words_and_marks_changes_nothing(mark: str) -> None:
    """The mark that becomes a link later counts neither as a letter nor as punctuation."""
    cited = {"citations": [{"type": "web_search_result_location", "url": "https://e.org", "title": "E"}]}
    blocks = (
        BlockSnapshot(kind="text", text=f"{mark}Note:{mark}", is_complete=True, data=cited),
        BlockSnapshot(kind="text", text=f" and {mark}结论：{mark}", is_complete=True, data=cited),
        BlockSnapshot(kind="text", text="样本", is_complete=True),
    )

    data = render_reply(replace(snapshot(), blocks=blocks)).data

    assert len(elements(data["text/html"])) == 4
    assert len(elements(render_by_commonmark(data["text/markdown"]))) == 4


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_commonmark_stay_as_they_are(example: str) -> None:
    """Here and in Markdown for other parsers, which contains no added characters."""
    assert elements(render_markdown(example)) == elements(render_by_commonmark(example))
    assert "\N{WORD JOINER}" not in neutralise_markdown(example)


@settings(max_examples=500, deadline=None)
@given(
    text=st.text(
        alphabet=st.one_of(
            st.sampled_from("**__~~ .,:()[]\"'`\\\n-!ab1é–“”’…😀✔\ufe0f\N{NO-BREAK SPACE}"),
            st.characters(max_codepoint=0x2E00, exclude_categories=("Cs",)),
        ),
        max_size=40,
    )
)
def test_text_in_other_languages_is_parsed_to_the_letter_of_commonmark(text: str) -> None:
    """Without Chinese, Japanese or Korean characters, CommonMark's own rule applies."""
    if any(0x1100 <= ord(sign) < 0x1200 or sign in "₩\u2329\u232a" for sign in text):
        return
    by_the_book = MarkdownIt("commonmark")

    ours = [token.as_dict() for token in parser().inline.parse(text, by_the_book, {}, [])]
    reference = by_the_book.inline.parse(text, by_the_book, {}, [])

    assert [token["type"] for token in ours if "strong" in token["type"] or "em_" in token["type"]] == [
        token.type for token in reference if "strong" in token.type or "em_" in token.type
    ]


def test_a_long_run_of_odd_characters_is_parsed_in_linear_time() -> None:
    """The characters next to a mark are read once: twice the text is twice the work."""

    def work(count: int) -> int:
        calls = 0

        class Counted(str):
            def rfind(self, *args: object) -> int:  # type: ignore[override]
                nonlocal calls
                calls += 1
                return super().rfind(*args)  # type: ignore[arg-type]

        text = Counted(("\ufdd1" * 3 + "**甲") * count)
        for start in (match.start() for match in re.finditer(r"\*\*", text)):
            _syntax._before(text, start)
        return calls

    assert work(2_000) <= 2.2 * work(1_000)
