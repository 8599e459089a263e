"""Prompts arrive at the server as they were typed, whatever IPython would like to make of them."""

import pytest

HOSTILE = [
    "it's isn't 'quoted' \"double\" `tick`",
    "'''triple''' and \"\"\"triple\"\"\"",
    r"back\slash \n \t \\ \x00 C:\new" + "\\",
    "{x} {{x}} {{ get_ipython() }} {% if %} ${HOME} $HOME $x",
    "%magic\n%%time\n!ls\n?help\nhelp?\nwhy??",
    "# a comment\n# another",
    ">>> doctest()\n... more\nIn [1]: prompt\n   ...: more",
    "    indented\n\tand tabbed\n  ",
    "trailing spaces   \nand a blank line below\n\n",
    "\n\nblank lines above",
    "ünïcode 日本語 🎈 \u202e right to left \u200b zero width",
    "line\u2028separator\u2029 form\x0cfeed \x0bvtab \x1c\x85",
    "null\x00byte \x07 bell \x1b[31m escape",
    "-m not an option\n--model neither",
    "- a list\n- of items",
    "<< not a name",
    r"$\int_0^1 f\left(x\right) dx$ \begin{align} a &= b \\ \end{align}",
    '{"json": [1, 2, {"a": null}], "s": "it\'s"}',
    "def f(x):\n    return {x: f'{x}' for x in range(3)}  # {{}}",
    "await x; print('hi');",
    "x" * 1_000_000,
]


def sent(sim):
    (message,) = sim.requests[-1].body["messages"]
    content = message["content"]
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


@pytest.mark.parametrize("prompt", HOSTILE, ids=range(len(HOSTILE)))
def test_a_prompt_below_the_option_line_arrives_as_typed(kernel, sim, prompt):
    """Character by character, through the kernel's transformers, history and display hook."""
    run = kernel.run(f"%%claude --thinking off\n{prompt}")

    assert run.status == "ok"
    assert sent(sim) == prompt.removesuffix("\n")


@pytest.mark.parametrize(
    "prompt",
    [text for text in HOSTILE if "\n" not in text.strip() and text.strip() == text],
    ids=lambda text: repr(text[:12]),
)
def test_a_prompt_on_the_line_arrives_as_typed(kernel, sim, prompt):
    """A cell of one `%claude` line is as verbatim, a question mark at its end included."""
    run = kernel.run(f"%claude -- {prompt}?")

    assert run.status == "ok"
    assert sent(sim) == f"{prompt}?"


def test_words_on_the_option_line_are_the_first_line_of_the_prompt(kernel, sim):
    """`%%claude Explain this:` and what is below."""
    kernel.run("%%claude --effort low Explain {this} $HOME:\n  code\n")

    assert sent(sim) == "Explain {this} $HOME:\n  code"


def test_blank_lines_above_the_magic_are_no_prompt(kernel, sim):
    """As for any cell magic."""
    kernel.run("\n  \n%%claude\nhi")

    assert sent(sim) == "hi"


@pytest.mark.parametrize(
    "code", ["x = '%%claude'\nx", "%%claudette\nhi", "print(1) # %claude hi", "%claudine hi"]
)
def test_cells_that_are_not_ours_are_not_touched(kernel, sim, code):
    """The transformer is narrow."""
    kernel.run(code)

    assert sim.requests == []


def test_variables_are_not_expanded_by_code_that_calls_the_magic(kernel, sim):
    """`run_cell_magic` and lines among code do not expand `{}` and `$` either."""
    kernel.run("x = 7\nr = %claude -- {x} $x {{x}}")
    assert sent(sim) == "{x} $x {{x}}"

    kernel.run("get_ipython().run_cell_magic('claude', '', '{x} $x')")
    assert sent(sim) == "{x} $x"
