"""The option line: options first, then the prompt, verbatim."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError

from claude_magic.notebook._line import Line, parse_option_line, read_cell
from claude_magic.notebook._options import OPTION_SPECS, Options

HERE: Any = SimpleNamespace(names=dict, threads=tuple)
"""A kernel without variables and threads."""

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


def parse_request(line: str, body: str | None = None) -> Line:
    """Parse a cell, or, without a body, a line."""
    if body is not None:
        return read_cell(line, body, HERE)
    parsed = parse_option_line(line)
    return Line(options=parsed.options, prompt=parsed.rest)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_is_kept_verbatim(prompt: str) -> None:
    """It is not split, unquoted, expanded or stripped, whatever options precede it."""
    assert parse_request(prompt).prompt == prompt
    assert parse_request(f" -m x  --effort=low {prompt}").prompt == prompt
    assert parse_request(f"r << -m x {prompt}").prompt == prompt
    assert parse_request("-m x", f"{prompt}\n").prompt == prompt


@given(st.text())
def test_any_text_below_the_option_line_is_the_prompt(text: str) -> None:
    """Options exist only on the first line."""
    assert parse_request("-m x", text + "\n") == Line(
        options=Options(model="x"), prompt=text.removesuffix("\r")
    )


@given(st.text())
def test_any_text_after_the_separator_is_the_prompt(text: str) -> None:
    """`--` ends the options; one space after it is not part of the prompt."""
    assert parse_request(f"-m x -- {text}").prompt == text


@given(st.text(alphabet="-=moutx '\"\\<> \t", max_size=30))
def test_any_option_line_is_parsed_or_refused_in_one_line(line: str) -> None:
    """No other error is raised, and each refusal is one line that says that nothing was sent."""
    complaint = None
    try:
        parse_request(line)
    except UsageError as error:
        complaint = str(error)

    assert complaint is None or ("\n" not in complaint and "Nothing was sent." in complaint)


EVERY_OPTION = {
    "-m opus": {"model": "opus"},
    "--interact n --interact=city,m": {"interact": ("n", "city", "m")},
    "--compare sonnet,opus": {"compare": ("sonnet", "opus")},
    '--system="be brief"': {"system": "be brief"},
    "-s @style.md": {"system": "@style.md"},
    "--max-tokens 16000": {"max_tokens": 16000},
    "--effort=high": {"effort": "high"},
    "--thinking hide": {"thinking": "hide"},
    "--thread side-1": {"thread": "side-1"},
    "--new": {"is_new": True},
    "--no-history": {"no_history": True},
    "--cells 2:5": {"cells": "2:5"},
    "--cells -3:": {"cells": "-3:"},
    "--cells=-3:-1": {"cells": "-3:-1"},
    "--cells -1": {"cells": "-1"},
    "--cells all": {"cells": "all"},
    "-a a.png -a https://x.org/?a=b --attach 'c d.csv'": {
        "attach": ("a.png", "https://x.org/?a=b", "c d.csv")
    },
    "-f json": {"format": "json"},
    "--format math": {"format": "math"},
    "--schema 'name, age int'": {"schema": "name, age int"},
    "--schema Person --format json": {"schema": "Person", "format": "json"},
    "-o reply": {"out": "reply"},
    "-x": {"insert_code": True},
    "--code": {"insert_code": True},
    "--tools f,pkg.g": {"tools": ("f", "pkg.g")},
    "--approve never": {"approve": "never"},
    "--web-search": {"web_search": True},
    "--stop END --stop=-- --stop '- '": {"stop": ("END", "--", "- ")},
    "--set top_k=5": {"extra": {"top_k": 5}},
    "--set metadata.user_id=me --set metadata.x.y=[1,null]": {
        "extra": {"metadata": {"user_id": "me", "x": {"y": [1, None]}}}
    },
    """--set 'a={"b": 1}' --set c='two words' --set d='"5"' --set e=NaN --set f= """: {
        "extra": {"a": {"b": 1}, "c": "two words", "d": "5", "e": "NaN", "f": ""}
    },
    "--replay only": {"replay": "only"},
    "--dry-run": {"dry_run": True},
    "--raw": {"raw": True},
    "--quiet": {"quiet": True},
    "--bg": {"background": True},
    "--map df": {"map": "df"},
    "--map=df.text --max-cost $2.50": {"map": "df.text", "max_cost": 2.5},
    "--map df --via batch": {"map": "df", "via": "batch"},
}


@pytest.mark.parametrize("line", EVERY_OPTION)
def test_an_option_sets_its_field_and_leaves_the_prompt_alone(line: str) -> None:
    """Short and long names, values after a space or an equals sign, quoted or not, flags and repeated options."""
    assert parse_request(f"{line} why?") == Line(options=Options(**EVERY_OPTION[line]), prompt="why?")


def test_every_option_is_among_those_tested_here() -> None:
    """A new option needs a line above."""
    tried = {field for fields in EVERY_OPTION.values() for field in fields}

    assert tried == {spec.field for spec in OPTION_SPECS} == set(Options.__slots__) - {"notes"}


def test_options_can_be_combined() -> None:
    """In any order and number."""
    line = "r << --quiet -x --effort low -a x -m opus --raw -a y --web-search --tools f why?"

    request = parse_request(line)

    assert request.prompt == "why?"
    assert request.options == Options(
        out="r",
        quiet=True,
        insert_code=True,
        effort="low",
        attach=("x", "y"),
        model="opus",
        raw=True,
        web_search=True,
        tools=("f",),
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
    """A quoted value may contain spaces, a leading dash, and escaped quotes."""
    assert parse_request(line) == Line(options=Options(system=system), prompt="hi")


@pytest.mark.parametrize(
    "model", ["llama3:8b", "anthropic/claude-opus-5-5", "anthropic.claude-v1:0", "x:anthropic:y"]
)
def test_names_of_other_servers_models_are_taken_as_they_are(model: str) -> None:
    """Ollama's contain a colon, those of gateways a slash."""
    assert parse_request(f"-m {model} hi").options.model == model


def test_a_secret_after_an_equals_sign_is_not_repeated_in_an_error() -> None:
    """Errors are saved with the notebook."""
    for line in (
        "--api-key=sk-ant-abc hi",
        "--set system=sk-ant-abc hi",
        "--sett x=sk-ant-abc",
        "--modl=sk-ant-abc",
    ):
        with pytest.raises(UsageError) as caught:
            parse_request(line)

        assert "sk-ant" not in str(caught.value)


def test_words_after_the_options_are_the_first_line_of_the_prompt() -> None:
    """`%%claude -m x Explain this:` and the cell below are one prompt."""
    assert parse_request("-m x Explain this:", "a\n  b\n\n").prompt == "Explain this:\na\n  b\n"
    assert parse_request("Explain it", "").prompt == "Explain it"


def test_name_arrow_binds_like_out() -> None:
    """`NAME <<` is the same as `-o NAME`."""
    for line in ("reply << hi", "reply<<hi", "  reply  <<  hi", "größe << hi"):
        assert parse_request(line).prompt == "hi"
    assert parse_request("reply << -m x hi").options == Options(model="x", out="reply")


def test_an_empty_cell_is_empty() -> None:
    """Spaces and blank lines are not a prompt, with or without options."""
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
        (f"--max-tokens {'9' * 10} hi", "at most nine digits"),
        (f"--max-tokens {'9' * 5000} hi", "at most nine digits"),
        ("--effort hihg hi", "Did you mean high?"),
        ("--thinking loud hi", "is one of show, hide, off"),
        ("-o 2x hi", "no digit first"),
        ("-o a.b hi", "the name of a variable"),
        ("-o class hi", "a Python keyword"),
        ("class << hi", "a Python keyword"),
        ("a << -o b hi", "--out is given twice"),
        ("-m a -m b hi", "--model is given twice"),
        ("--raw --raw hi", "--raw is given twice"),
        ("--raw=yes hi", "--raw takes no value"),
        ("--rwa hi", "Did you mean --raw?"),
        ("-xq hi", "There is no option -xq. Did you mean -x?"),
        ("--new --thread t hi", "--thread and --new cannot be combined"),
        ("--via batch hi", "--via goes with --map"),
        ("--max-cost 2 hi", "--max-cost goes with --map"),
        ("--max-cost 0 hi", "--max-cost goes with --map"),
        ("--max-cost 2 --compare sonnet,opus hi", "--max-cost goes with --map"),
        ("--max-cost 2 --interact n {{ n }}", "--max-cost goes with --map"),
        ("--max-cost 2 --bg --dry-run hi", "--max-cost goes with --map"),
        ("--map df --via post hi", "--via post: WAY is one of online, batch"),
        ("--thread t --no-history hi", "--thread and --no-history cannot be combined"),
        ("--no-history --new hi", "--new and --no-history cannot be combined"),
        ("--schema P -x hi", "--schema and --code cannot be combined"),
        ("--schema P -f html hi", "--schema and --format html cannot be combined"),
        ("-f markdown hi", "Did you mean md?"),
        (
            "-f jsn hi",
            "--format jsn: FORMAT is one of md, text, code, json, html, math. Did you mean json? Nothing was sent.",
        ),
        ("--cells -x hi", "--cells needs a value: --cells RANGE, but -x follows. Nothing"),
        ("--cells -3:x hi", "as in --cells=-3:x"),
        ("--cells last hi", "RANGE is all, none, or a range"),
        ("--cells : hi", "RANGE is all, none, or a range"),
        ("--stop - hi", "--stop needs a value"),
        ("--thread 'a b' hi", "T is one word"),
        ("--tools f, g", "with commas and no spaces between them"),
        ("--tools f,f hi", "the same function twice"),
        ("--tools f() hi", "are names of functions"),
        ("--approve always hi", "is one of ask, never"),
        ("--attach '' hi", "THING is empty"),
        ("-s @ hi", "names a file after the @"),
        ("-m '{\"temperature\": 1}' hi", "set fields of the request with --set"),
        ('-m {"max_tokens": 5} hi', "set fields of the request with --set"),
        ("-m anthropic:claude-opus-5-5 hi", "Did you mean --model claude-opus-5-5?"),
        ("-m anthropic-chat:claude-opus-5-5 hi", "Did you mean --model claude-opus-5-5?"),
        ("--set top_k hi", "a field of the request and its value"),
        ("--set model=x hi", "cannot set model, which is set with --model"),
        ("--set messages.x=x hi", "which is the prompt"),
        ('--set a={"b": 1} hi', "is not valid JSON"),
        ("--set a=1 --set a=2 hi", "--set sets a twice"),
        ("--set a=1 --set a.b=2 hi", "--set sets a and also a.b"),
        ("--api-key=sk-ant-abc hi", "There is no option --api-key: a key in a cell is saved with it."),
        ('-s "be brief', "is not closed"),
        ('-s "be"brief hi', "Put a space after"),
    ],
)
def test_a_typo_is_a_one_line_error_and_nothing_is_sent(line: str, complaint: str) -> None:
    """The error says what is wrong and what to type; the prompt never becomes part of an option."""
    with pytest.raises(UsageError) as caught:
        parse_request(line)

    assert complaint in str(caught.value)
    assert str(caught.value).endswith("Nothing was sent.")
    assert type(caught.value) is UsageError, (
        "IPython shows one line for this class only, not for its subclasses"
    )


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("—no-history why?", "--no-history"),
        ("–m opus why?", "-m"),
        ("––no-history why?", "--no-history"),
        ("−−bg why?", "--bg"),
        ("-—no-history why?", "--no-history"),
        ("--no‑history why?", "--no-history"),
        ("‑‑no‑history why?", "--no-history"),
        ("－－raw why?", "--raw"),
        ("―raw why?", "--raw"),
        ("﹣x why?", "-x"),
        ("--model＝opus why?", "--model=…"),
        ("—model=opus why?", "--model=…"),
        ("\u200b--raw why?", "--raw"),
        ("--ra\u00adw why?", "--raw"),
        ("\ufeff-m opus why?", "-m"),
        ("-m opus —raw why?", "--raw"),
        ("—no-histroy why?", "--no-history"),
    ],
)
def test_an_option_that_a_word_processor_has_changed_is_an_error_that_says_what_to_type(line, typed):
    """Dashes, minus signs, non-breaking hyphens, full-width and invisible characters; none becomes part of a prompt."""
    with pytest.raises(UsageError) as caught:
        parse_request(line)

    message = str(caught.value)
    assert f"type {typed}." in message
    assert "U+" in message
    assert message.endswith("Nothing was sent.")


@pytest.mark.parametrize(
    "line",
    [
        "-s “Be brief.” why?",
        "--system=“Be brief.” why?",
        "-s „Kurz.“ warum?",
        "-s «Soyez bref» pourquoi ?",
        "-s ‘Be brief.’ why?",
        "-s ＂Be brief.＂ why?",
        "-s ″Be brief.″ why?",
        "--stop “end” why?",
        "--schema “name, age int” who?",
        "-a ‘my file.txt’ what?",
        "--set metadata=“x” why?",
        "--set “top_k=5” why?",
    ],
)
def test_a_value_that_begins_with_a_curly_quote_is_an_error_that_says_what_to_type(line):
    """Otherwise its first word would be the value, and the rest the prompt."""
    with pytest.raises(UsageError, match="Type straight quotes around it") as caught:
        parse_request(line)

    assert str(caught.value).endswith("Nothing was sent.")


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("--cells −3: why?", "type --cells -3:."),
        ("--cells 2：5 why?", "type --cells 2:5."),
        ("--compare sonnet，opus why?", "type --compare sonnet,opus."),
        ("--max-tokens １００ why?", "type --max-tokens 100."),
        ("--effort hi\u00adgh why?", "type --effort high."),
    ],
)
def test_a_value_with_typographic_characters_is_an_error_that_says_what_to_type(line, typed):
    """If it would be valid in ASCII."""
    with pytest.raises(UsageError) as caught:
        parse_request(line)

    assert typed in str(caught.value)


@pytest.mark.parametrize("space", ["\u00a0", "\u202f", "\u2009", "\u3000", "\t"])
def test_any_space_separates_an_option_from_its_value(space):
    """Including non-breaking spaces."""
    assert parse_request(f"-m{space}opus{space}--raw{space}why?") == Line(
        options=Options(model="opus", raw=True), prompt="why?"
    )


@pytest.mark.parametrize("line", ["-m =opus why?", "--model ＝opus why?", "--model = opus why?"])
def test_an_equals_sign_with_spaces_around_it_is_an_error(line):
    """It would be taken for the beginning of a model's name."""
    with pytest.raises(UsageError, match="without spaces"):
        parse_request(line)


@pytest.mark.parametrize(
    "prompt",
    [
        "— he said, and left.",
        "—Hola, ¿qué tal?",
        "– first item",
        "−5 is a negative number. Why?",
        "—",
        "“Be brief.” Who said that?",
        "«Bonjour» in English",
        "—Models are built, he said.",
        "—stop, he said.",
        "… and then?",
        "― 春はあけぼの",
        "=SUM(A1) means?",
        "➜ next",
    ],
)
def test_prose_that_begins_with_a_dash_or_a_quote_is_sent(prompt):
    """As in dialogues and lists."""
    assert parse_request(prompt) == Line(prompt=prompt)
    assert parse_request(f"-m opus {prompt}") == Line(options=Options(model="opus"), prompt=prompt)


@pytest.mark.parametrize(
    "name",
    [
        "print",
        "list",
        "id",
        "open",
        "In",
        "Out",
        "_",
        "__",
        "___",
        "_1",
        "_i",
        "_ii",
        "_i3",
        "_oh",
        "_dh",
        "_ih",
        "_exit_code",
        "__name__",
        "__builtins__",
        "__file__",
        "exit",
        "quit",
        "get_ipython",
        "display",
        "claude",
        "Err",
        "None",
        "class",
        "__builtin__",
    ],
)
@pytest.mark.parametrize("form", ["-o {} hi", "--out={} hi", "{} << hi"])
def test_a_reserved_name_is_not_bound(name, form):
    """Names of Python, IPython and this package: binding them would break the session."""
    with pytest.raises(UsageError, match=r"Nothing was sent\.$"):
        parse_request(form.format(name))


@pytest.mark.parametrize(
    "name", ["answer", "_answer", "match", "out", "In_", "err", "résumé", "_x1", "claude_says", "__mine"]
)
def test_any_other_name_may_be_bound(name):
    """Including similar names."""
    assert parse_request(f"-o {name} hi").options.out == name
