"""Which cells are rewritten, into what, and which are left alone."""

import asyncio
from types import SimpleNamespace

import pytest
from IPython.core.async_helpers import _asyncio_runner

from claude_magic.notebook._transform import CellTransformer


class Shell:
    """What the transformer asks a shell about."""

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
    """What a rewritten cell hands over, by evaluating it with a stand-in for IPython."""
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
def test_our_cells_become_one_call_with_the_exact_text(transform, cell, expected):
    """Line and body reach the magic character by character, on one line of code."""
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
        "%claude  demo   on ",
        "%claudine why",
    ],
)
def test_other_cells_are_left_alone(transform, cell):
    """Code, help, subcommands and lines among code stay IPython's business."""
    assert transform(cell) == cell


def test_a_cell_is_awaited_only_where_its_caller_can_await(transform):
    """On a running loop, with autoawait, outside any cell."""

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


def test_asking_whether_input_is_complete_does_not_see_the_rewriting():
    """IPython's rule for cell magics, done at a blank line, needs their `%%`."""
    assert CellTransformer.has_side_effects is True
