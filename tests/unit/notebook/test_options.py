"""The option line: options first, then the prompt, verbatim."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError

from claude_magic.notebook._option_line import parse_cell, parse_option_line
from claude_magic.notebook._options import Options, Request

PROMPTS = [
    "why?",
    "it's \"fine\" isn't it",
    r"a \ backslash \n \' and \\ two",
    "# a comment? no",
    "{x} {{ y }} $HOME $x ${z}",
    "<< x",
    "1 << 3 is what",
    "a.b << c",
    "- item",
    "-",
    "tell me about -m and --model",
    "ünïcode 日本語 🎈 \u2028 \x0b",
    "'''' \"\"\"",
    "%magic !shell ?help",
    "trailing space  ",
]


def parse_request(line: str, body: str | None = None) -> Request:
    """As a cell, or, without a body, as a line."""
    if body is not None:
        return parse_cell(line, body)
    parsed = parse_option_line(line)
    return Request(options=parsed.options, prompt=parsed.rest)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_arrives_character_by_character(prompt: str) -> None:
    """Nothing in a prompt is split, unquoted, expanded or stripped, whatever options stand before it."""
    assert parse_request(prompt).prompt == prompt
    assert parse_request(f" -m x  --effort=low {prompt}").prompt == prompt
    assert parse_request(f"r << -m x {prompt}").prompt == prompt
    assert parse_request("-m x", f"{prompt}\n").prompt == prompt


@given(st.text())
def test_any_text_below_the_option_line_is_the_prompt(text: str) -> None:
    """Below the first line there are no options, only prompt."""
    assert parse_request("-m x", text + "\n") == Request(
        options=Options(model="x"), prompt=text.removesuffix("\r")
    )


@given(st.text())
def test_any_text_behind_the_separator_is_the_prompt(text: str) -> None:
    """`--` ends the options, and one space behind it is not prompt."""
    assert parse_request(f"-m x -- {text}").prompt == text


@given(st.text(alphabet="-=moutx '\"\\<> \t", max_size=30))
def test_any_option_line_is_parsed_or_refused_in_one_line(line: str) -> None:
    """There is no third way out, and a refusal is one line that says that nothing was sent."""
    complaint = None
    try:
        parse_request(line)
    except UsageError as error:
        complaint = str(error)

    assert complaint is None or ("\n" not in complaint and "Nothing was sent." in complaint)


def test_every_option_sets_its_field() -> None:
    """Short and long names, values behind a space or an equals sign, quoted or not."""
    line = """-m opus --system="be brief" --max-tokens 16000 --effort=high --thinking hide -o reply why?"""

    request = parse_request(line)

    assert request.prompt == "why?"
    assert request.options == Options(
        model="opus", system="be brief", max_tokens=16000, effort="high", thinking="hide", out="reply"
    )


@pytest.mark.parametrize(
    ("line", "system"),
    [
        ('-s "be brief" hi', "be brief"),
        ("-s 'say \"x\"' hi", 'say "x"'),
        (r'-s "say \"x\" \n \\" hi', r'say "x" \n ' + "\\"),
        ("-s it's hi", "it's"),
        ('-s "" hi', ""),
        ('-s "-dashed" hi', "-dashed"),
        ('--system="a b" hi', "a b"),
        ('-s\t"{x}" hi', "{x}"),
    ],
)
def test_a_value_may_be_quoted(line: str, system: str) -> None:
    """In quotes a value may have spaces, a dash in front, and quotes behind a backslash."""
    assert parse_request(line) == Request(options=Options(system=system), prompt="hi")


def test_words_behind_the_options_are_the_first_line_of_the_prompt() -> None:
    """`%%claude -m x Explain this:` and the cell below are one prompt."""
    assert parse_request("-m x Explain this:", "a\n  b\n\n").prompt == "Explain this:\na\n  b\n"
    assert parse_request("Explain", "").prompt == "Explain"


def test_name_arrow_binds_like_out() -> None:
    """`NAME <<` is `-o NAME`."""
    for line in ("reply << hi", "reply<<hi", "  reply  <<  hi", "größe << hi"):
        assert parse_request(line).prompt == "hi"
    assert parse_request("reply << -m x hi").options == Options(model="x", out="reply")


def test_an_empty_cell_is_empty() -> None:
    """Spaces and blank lines are nothing to send, with or without options."""
    assert parse_request("").is_empty
    assert parse_request("-m x", " \n\n").is_empty
    assert parse_request("-m x --").is_empty


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--modle x hi", "There is no option --modle. Did you mean --model?"),
        ("--mod x hi", "There is no option --mod."),
        ("-q hi", "There is no option -q."),
        ("-mopus hi", "There is no option -mopus. Did you mean -m opus?"),
        ("-m=opus hi", "There is no option -m=opus. Did you mean -m opus?"),
        ("-5 degrees", "write -- before it"),
        ("-M x hi", "There is no option -M. Did you mean -m?"),
        ("-m", "--model needs a value: --model MODEL."),
        ("-m --effort low hi", "--model needs a value: --model MODEL, but --effort follows."),
        ("--model= hi", "--model needs a value"),
        ("--max-tokens many hi", "--max-tokens many: N is a whole number above 0"),
        ("--max-tokens 0 hi", "above 0"),
        ("--max-tokens 1.5 hi", "a whole number"),
        ("--max-tokens ٣ hi", "a whole number"),
        ("--effort hihg hi", "did you mean high?"),
        ("--thinking loud hi", "is one of show, hide, off"),
        ("-o 2x hi", "no digit first"),
        ("-o a.b hi", "the name of a variable"),
        ("-o class hi", "a word of Python's own"),
        ("class << hi", "a word of Python's own"),
        ("a << -o b hi", "--out is given twice"),
        ("-m a -m b hi", "--model is given twice"),
        ('-s "be brief', "is not closed"),
        ('-s "be"brief hi', "Put a space behind"),
    ],
)
def test_a_slip_is_a_one_line_error_and_nothing_is_sent(line: str, complaint: str) -> None:
    """What was wrong, and what to write instead; the prompt is never swallowed into an option."""
    with pytest.raises(UsageError) as caught:
        parse_request(line)

    assert complaint in str(caught.value)
    assert str(caught.value).endswith("Nothing was sent.")
    assert type(caught.value) is UsageError, (
        "IPython shows one line for this class only, not for its subclasses"
    )
