"""Which cells are rewritten, into what, and which are not changed."""

import asyncio
from types import SimpleNamespace

import pytest
from IPython.core.async_helpers import _asyncio_runner

from claude_magic.notebook._transform import CellTransformer


class Shell:
    """The part of a shell that the transformer uses."""

    autoawait = True
    loop_runner = _asyncio_runner

    def __init__(self, **names):
        self.user_ns = {"In": [], "_": 1} | names
        self.user_ns_hidden = {"In": self.user_ns["In"]}


@pytest.fixture
def transform():
    transformer = CellTransformer(Shell())
    return lambda cell: "".join(transformer(cell.splitlines(keepends=True)))


def arguments(code):
    """Return the arguments of a rewritten cell's call, evaluated with a stand-in for IPython."""
    seen = []

    magics = SimpleNamespace(answer_cell_blocking=lambda *given: seen.append(given))
    shell = SimpleNamespace(magics_manager=SimpleNamespace(registry={"ClaudeMagics": magics}))
    call = code.removeprefix("await ").replace(".answer_cell(", ".answer_cell_blocking(")
    eval(call, {"get_ipython": lambda: shell})
    return seen[0]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("%%claude\nhi\n", ("", "hi\n")),
        ("%%claude", ("", "")),
        ("%%claude -m x words  \nmore\n\n", (" -m x words  ", "more\n\n")),
        ("%%claude\t-m x\nhi", ("\t-m x", "hi")),
        ("\n  \n%%claude\nhi", ("", "hi")),
        ("%%claude\r\nhi\r\nthere", ("", "hi\r\nthere")),
        ("%%claude a\u2028b\nc\x0cd", (" a\u2028b", "c\x0cd")),
        ("%%claude\n%%claude\n'''\"\"\"\\", ("", "%%claude\n'''\"\"\"\\")),
        ("%%claude\n>>> x\nIn [1]: y", ("", ">>> x\nIn [1]: y")),
        ("%claude why?\n", (" why?", None)),
        ("%claude status quo\n\n", (" status quo", None)),
    ],
)
def test_claude_cells_become_one_call_with_the_exact_text(transform, cell, expected):
    """Line and body reach the magic verbatim, in one line of code."""
    code = transform(cell)

    assert code.count("\n") == 1
    assert code.splitlines() == [code.rstrip("\n")], "nothing in it that IPython would take for a line's end"
    assert arguments(code) == expected


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "\n\n",
        "print('%%claude')",
        "%%claude?",
        "%%claude??\n",
        "%%claudette\nhi",
        "%%time\n%%claude\nhi",
        "%claude?",
        "%claude status",
        "%claude ?",
        "%claude  demo   on ",
        "%claudine why",
    ],
)
def test_other_cells_are_not_changed(transform, cell):
    """IPython handles code, help, subcommands and lines among code."""
    assert transform(cell) == cell


def test_a_cell_is_awaited_only_where_its_caller_can_await(transform):
    """On a running event loop, with autoawait, outside of any cell."""

    async def on_a_loop():
        return transform("%%claude\nhi")

    assert not transform("%%claude\nhi").startswith("await ")
    assert asyncio.run(on_a_loop()).startswith("await ")


@pytest.mark.parametrize("change", [{"autoawait": False}, {"loop_runner": object()}])
def test_without_autoawait_on_asyncio_a_cell_blocks(change):
    """`%autoawait off`, or trio."""
    shell = type("Other", (Shell,), change)()

    async def on_a_loop():
        return CellTransformer(shell)(["%%claude\n", "hi"])[0]

    assert not asyncio.run(on_a_loop()).startswith("await ")


def test_the_check_for_complete_input_does_not_see_the_rewriting():
    """IPython's rule that a blank line completes a cell magic needs the `%%`."""
    assert CellTransformer.has_side_effects is True


def call(prompt):
    return f"get_ipython().run_line_magic('claude', {prompt!r})"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("print(1)\n%claude why?\n", f"print(1)\n{call('why?')}\n"),
        ("%claude why?\nprint(1)", f"{call('why?')}\nprint(1)"),
        ("%claude why\\\nprint(1)", call("why\\") + "\nprint(1)"),
        ("x = %claude why?", f"x = {call('why?')}"),
        ("x=%claude why?", f"x={call('why?')}"),
        ("x = y.z = d['k'] = %claude why?", f"x = y.z = d['k'] = {call('why?')}"),
        ("for x in y:\n    %claude -m {x} why?\n", f"for x in y:\n    {call('-m {x} why?')}\n"),
        ("def f():\n\tr = %claude why?\n\treturn r", f"def f():\n\tr = {call('why?')}\n\treturn r"),
        ("%claude it's (\n%claude 'why?", call("it's (") + "\n" + call("'why?")),
        ('1\n%claude """\n%claude b?  ', "1\n" + call('"""') + "\n" + call("b?  ")),
        ("s = '''\n%claude a?\n'''\n%claude b?", f"s = '''\n%claude a?\n'''\n{call('b?')}"),
        ("f(\n%claude (a)\n)\n%claude b?", f"f(\n%claude (a)\n)\n{call('b?')}"),
        ("x = 7 \\\n%claude\n%claude b?", f"x = 7 \\\n%claude\n{call('b?')}"),
        ("s = 'it\\'s (' # it's {\n%claude b?", f"s = 'it\\'s (' # it's {{\n{call('b?')}"),
        ("s = 'unclosed (\n%claude b?", f"s = 'unclosed (\n{call('b?')}"),
        ("s = 'a\\\nb' + ']'\n%claude b?", f"s = 'a\\\nb' + ']'\n{call('b?')}"),
        ("!echo ( '\n%claude b?", f"!echo ( '\n{call('b?')}"),
        ("%timeit f(\n%claude b?", f"%timeit f(\n{call('b?')}"),
        ("x = !ls (\n%claude b?", f"x = !ls (\n{call('b?')}"),
        ("help?\n%claude b?", f"help?\n{call('b?')}"),
        ("print(1)\r\n%claude b?\r\n2", f"print(1)\r\n{call('b?')}\n2"),
        ("1\n%claude a\u2028b\x0cc", "1\n" + call("a\u2028b\x0cc")),
        ("1\n%claude", f"1\n{call('')}"),
        ("1\n%claude status", f"1\n{call('status')}"),
    ],
)
def test_lines_among_code_become_calls_with_the_exact_text(transform, cell, expected):
    """Including trailing question marks and backslashes; the code around them is not changed."""
    assert transform(cell) == expected


@pytest.mark.parametrize(
    "cell",
    [
        "print(1)\n%claude?",
        "print(1)\n%claude??",
        "?%claude\nprint(1)",
        "print('%claude why?')\nhelp?",
        "x = '''\n%claude why?\n'''",
        "x = (10\n%claude (3))",
        "x = 10 \\\n%claude",
        "%%time\n%claude why?",
        "%%html\n%%claude\n",
        "return %claude why?",
        ">>> %claude why?\n>>> 1",
        "open(\n%claude why?",
        "s = '''\n%%claude\n'''",
    ],
)
def test_text_that_only_looks_like_a_claude_line_is_not_changed(transform, cell):
    """Strings, brackets, continued lines, cells of other magics, and IPython's own help."""
    assert transform(cell) == cell


@pytest.mark.parametrize(
    "cell",
    [
        "# comment\n%%claude\nit's",
        "  %%claude\nhi",
        "import x\n%%claude -m opus\nhi",
        "\n\n# a\n\n%%claude\n",
    ],
)
def test_a_cell_with_something_before_the_magic_is_refused_as_a_whole(transform, cell):
    """Its prompt is not Python, and its code is not run either."""
    assert transform(cell).endswith(".refuse_cell()\n")


@pytest.mark.parametrize(
    ("line", "is_ours"),
    [
        ("explain frame", True),
        ("-m opus fix", True),
        ("status", False),
        ("demo on", False),
        ("ask status", True),
    ],
)
def test_a_subcommand_that_asks_claude_is_awaited_like_a_prompt(line, is_ours):
    """Other subcommands are called by IPython, like any line magic."""
    cell = f"%claude {line}"

    code = CellTransformer(Shell(frame=1))([cell])

    assert (code != [cell]) is is_ours


def test_a_cell_without_the_magics_name_is_returned_as_it_is(transform):
    """It is not parsed."""
    lines = ["x = '''\n", "%clau\n"]

    assert CellTransformer(Shell())(lines) is lines


def test_a_line_in_a_nested_function_mentions_the_names_it_can_use(transform):
    """Otherwise the closure would lack these variables; only names that occur in the cell's code are mentioned."""
    cell = "def f(path):\n    def g(sep):\n        r = %claude {{ path }} or {{ sep }} if there is one\n    return g\n"

    code = transform(cell)

    line = code.splitlines()[2]
    assert line.startswith(
        "        r = (lambda: (path, sep,)) and get_ipython().run_line_magic('claude', '{{ path }}"
    )
    names = {}
    exec(code, names)
    assert names["f"]("a").__code__.co_freevars == ("path",)


def test_other_lines_mention_nothing(transform):
    """Without nested functions, all variables are accessible."""
    assert "lambda" not in transform("def f(path):\n    %claude {{ path }}\n")
    assert "lambda" not in transform("path = 1\n%claude {{ path }}\n")
