"""Prompts reach the server as typed, whatever meaning they have for IPython."""

import pytest

# Names in double braces do not exist here, so they are sent as typed.
LINES = [
    # Syntax of IPython...
    "why?",
    "why??",
    "?",
    "what is df.head?",
    "is %timeit magic?",
    "!ls",
    "!!ls -la $HOME",
    "%time x = 1",
    "%%time",
    "%claude hi",
    ">>> doctest()",
    "In [1]: prompt",
    "...: continued",
    ",quote me",
    ";quote me all",
    "/call me",
    "x = !ls",
    "x = %claude what",
    "await x; print('hi');",
    # Quotes, brackets and backslashes...
    "it's isn't 'quoted' \"double\" `tick`",
    "'",
    '"""',
    "'''triple''' and \"\"\"triple\"\"\"",
    "an open ( bracket [ and { brace",
    "closed ) before ] open }",
    r"back\slash \n \t \\ \x00 \u0041 \N{BULLET} C:\new" + "\\",
    "two at the end \\\\",
    r"\'escaped\' \"quotes\"",
    "# a comment",
    "#!/bin/sh",
    "semicolon;",
    # Braces, dollars, templates...
    "{x} {x!r} {x:>10} {} {{}} }{",
    "{{ nobody }} {{nobody.name | upper}} {{ nobody['k'] }}",
    "{{ 1 + 1 }} {{ len(x) }} {{ print }} {{ get_ipython() }}",
    "{% for x in items %}{{ x_ }}{% endfor %} {# note #}",
    "${HOME} $HOME $x $(date) $((1+1)) `date`",
    "f'{value!r:>{width}}' and {'set', 'literal'} and {\"dict\": {1: 2}}",
    '{"json": [1, 2, {"a": null}], "s": "it\'s", "n": -1.5e-3}',
    # Mathematics...
    r"$\int_0^1 f\left(x\right) dx$ \begin{align} a &= b \\ \end{align}",
    r"\( a \) and \[ b \] and $$ c $$",
    "costs $5, not $6",
    # Text that looks like options and separators...
    "-m not an option",
    "--model neither",
    "-- nor this",
    "- an item",
    "-",
    "<< not a name",
    "name << not a name either",
    "ask me",
    "status",
    "fix",
    # Code and markup of all kinds...
    "def f(x): return {x: f'{x}' for x in range(3)}  # {{}}",
    "SELECT * FROM t WHERE a LIKE '%x%' AND b = :b -- comment",
    'grep -rn "it\'s" . | sed \'s/\\(a\\)/\\1/g\' && echo "$?"',
    "<script>alert('x')</script> &lt; &amp; <!-- c -->",
    "| a | b |\\n|---|---|",
    "regex: ^(?P<x>\\d+)(?:a|b)*?$",
    # Characters...
    "ünïcode 日本語 🎈 👩‍👩‍👧 \u202e right to left \u200b zero width",
    "line\u2028separator\u2029 next\x85line",
    "form\x0cfeed \x0bvtab \x1c\x1d\x1e file group record",
    "null\x00byte \x07 bell \x1b[31m escape \x7f",
    "tab\tand   spaces",
    "a\rcarriage return",
    "\ufeffa byte order mark, \ufffd, \ufffe and \U0010ffff",
    "x" * 1_000_000,
]
CELLS = [
    "    indented\n\tand tabbed\n  ",
    "trailing spaces   \nand a blank line below\n\n",
    "\n\nblank lines above",
    "windows\r\nline\r\nends\r\n\r\nhere",
    "%%claude\n%claude hi\n%magic\n!ls\n?help\nhelp?",
    ">>> doctest()\n... more\nIn [1]: prompt\n   ...: more",
    "def f(x):\n    '''doc'''\n    return {x: f'{x}'}\n\nf(1)?",
    '{\n  "a": [1, {"b": "}"}],\n  "c": "\\n"\n}',
    "{% if x_ %}\n  {{ x_.y }}\n{% endif %}",
    "cat <<'EOF'\n$HOME `x` \\\nEOF",
    "```python\nprint('''a''')\n```",
    "line\\\ncontinued\\\n",
    "'''\n%claude in a string\n'''",
    "it's\n(\n[\n{",
    "word " * 200_000 + "\nend?",
]


def sent(sim):
    content = sim.requests[-1].body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


def name_of(prompt):
    return repr(prompt[:24])


def test_there_are_enough_prompts():
    """All prompts are different."""
    assert len(set(LINES + CELLS)) >= 75


@pytest.mark.parametrize("prompt", LINES + CELLS, ids=name_of)
def test_a_prompt_below_the_option_line_arrives_as_typed(kernel, sim, prompt):
    """Character by character, through the kernel's input transformers, history and display hook."""
    run = kernel.run(f"%%claude --no-history\n{prompt}")

    assert run.status == "ok"
    assert sent(sim) == prompt.removesuffix("\n")


@pytest.mark.parametrize("prompt", LINES + CELLS, ids=name_of)
def test_a_prompt_arrives_as_code_passed_it(kernel, sim, prompt):
    """With `run_cell_magic`, which `%%time`, `%%capture` and user code call."""
    run = kernel.run(f"get_ipython().run_cell_magic('claude', '--no-history', {prompt!r})")

    assert run.status == "ok"
    assert sent(sim) == prompt.removesuffix("\n")


@pytest.mark.parametrize("prompt", LINES, ids=name_of)
def test_a_prompt_on_the_line_arrives_as_typed(kernel, sim, prompt):
    """A cell with a single `%claude` line is sent verbatim as well, including a question mark at its end."""
    for text in (prompt, f"{prompt}?", f"{prompt}  "):
        run = kernel.run(f"%claude --no-history -- {text}")

        assert run.status == "ok"
        assert sent(sim) == text


@pytest.mark.parametrize("prompt", LINES, ids=name_of)
def test_a_prompt_on_a_line_among_code_arrives_as_typed(kernel, sim, prompt):
    """Alone, assigned and indented; the code around it runs."""
    for before, text in (("", prompt), ("answer = ", f"{prompt}?"), ("if True:\n    ", f"{prompt}??")):
        run = kernel.run(f"count = 1\n{before}%claude --no-history -- {text}\ncount += 1")

        assert run.status == "ok"
        assert sent(sim) == text
        assert kernel.value("count") == "2"
    assert kernel.value("type(answer).__name__") == "'Reply'"


def test_words_on_the_option_line_are_the_first_line_of_the_prompt(kernel, sim):
    """`%%claude Explain this:` and the lines below."""
    kernel.run("%%claude --effort low Explain {this} $HOME:\n  code\n")

    assert sent(sim) == "Explain {this} $HOME:\n  code"


def test_blank_lines_above_the_magic_are_no_prompt(kernel, sim):
    """As with any cell magic."""
    kernel.run("\n  \n%%claude\nhi")

    assert sent(sim) == "hi"


@pytest.mark.parametrize(
    "code",
    [
        "x = '%%claude'\nx",
        "%%claudette\nhi",
        "print(1) # %claude hi",
        "%claudine hi",
        "x = '''\n%claude why?\n'''",
        "help?\nprint('%claude why?')",
    ],
)
def test_cells_that_are_not_ours_are_not_touched(kernel, sim, code):
    """The transformer changes only `%claude` cells and lines."""
    kernel.run(code)

    assert sim.requests == []


def test_question_marks_elsewhere_still_ask_ipython_for_help(kernel, sim):
    """Also in a cell that contains a question to Claude."""
    run = kernel.run("%claude why?\nlen?")

    assert "Return the number of items" in str(run.reply["content"]["payload"])
    assert sent(sim) == "why?"
    for cell in ("len?", "?len", "%claude?\n1", "1\n?%claude"):
        assert kernel.run(cell).reply["content"]["payload"], cell
    assert len(sim.requests) == 1


def test_variables_are_not_expanded_by_code_that_calls_the_magic(kernel, sim):
    """`run_cell_magic` and lines among code do not expand `{}` and `$`."""
    kernel.run("x = 7\nr = %claude -- {x} $x {{nobody}}")
    assert sent(sim) == "{x} $x {{nobody}}"

    kernel.run("get_ipython().run_cell_magic('claude', '', '{x} $x')")
    assert sent(sim) == "{x} $x"


def test_lines_in_functions_and_blocks_ask_each_time_they_run(kernel, sim):
    """In loops, conditions, functions and `with`."""
    kernel.run(
        "import contextlib\n"
        "def ask():\n    with contextlib.nullcontext():\n        reply = %claude why?\n    return reply\n"
        "replies = [ask() for _ in range(2)]\n"
        "for each in replies:\n    if each:\n        %claude and {{ nobody }}?\n"
    )

    assert [request.body["messages"][-1]["content"] for request in sim.requests] == [
        "why?",
        "why?",
        "and {{ nobody }}?",
        "and {{ nobody }}?",
    ]
    assert kernel.value("[type(each).__name__ for each in replies]") == "['Reply', 'Reply']"


@pytest.mark.parametrize("above", ["# a note", "  ", "import math", "%matplotlib inline", '"""a note"""'])
def test_a_cell_with_something_above_the_magic_says_what_is_wrong(kernel, sim, above):
    """One sentence instead of a SyntaxError; nothing is run or sent."""
    kernel.run("ran = False")
    cell = f"ran = True\n{above}\n%%claude\nit's a prompt" if above.strip() else "  %%claude\n  it's"

    run = kernel.run(cell)

    assert run.status == "error"
    assert run.stderr.startswith("UsageError: %%claude must be the first thing in its cell")
    assert "Traceback" not in run.stderr
    assert sim.requests == []
    assert kernel.value("ran") == "False"
