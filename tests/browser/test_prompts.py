"""The front-end extension: in JupyterLab and Notebook 7 the prompt of a `%%claude` cell reads as prose; code stays code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import nbformat
import pytest
from lab_server import LabServer, NotebookFolder
from notebook_page import NotebookPage
from playwright.sync_api import Browser, expect

# A cell without a kernel's answer: nothing here is run.
LONG = (
    "It is not known if this isn't a long sentence: "
    + "it goes on, and is read as prose by all who see it, " * 6
)
PROMPT = f"%%claude -m opus --modle x\nWhat is Ada's work (in words)?\n{LONG}\nThe mean of {{{{ df.mean() }}}} and its use."
CODE = "if x is not None:\n    print('a', x)\n%claude What is Ada's work?"

# The colour and weight of a piece of text in an editor: of the innermost element that holds its first character.
_LOOK = """(editor, text) => {
    for (const line of editor.querySelectorAll(".cm-line")) {
        let at = line.textContent.indexOf(text);
        if (at < 0) continue;
        const walker = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
        for (let node; (node = walker.nextNode()); at -= node.data.length) {
            if (at >= node.data.length) continue;
            const { color, fontWeight, fontStyle } = getComputedStyle(node.parentElement);
            return [color, fontWeight, fontStyle];
        }
    }
    throw Error(`${text} is not shown`);
}"""
_IS_WRAPPED = """editor => {
    const scroller = editor.querySelector(".cm-scroller");
    return scroller.scrollWidth <= scroller.clientWidth;
}"""
_SOURCE = (
    "index => window.jupyterapp.shell.currentWidget.content.widgets[index].model.sharedModel.getSource()"
)
_LUMINANCE = """color => {
    const [red, green, blue] = color.match(/[\\d.]+/g).map(each => each / 255)
        .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}"""

CODEMIRROR = "@jupyterlab/codemirror-extension/plugin"
OURS = "claude-magic/prompts"


class Editors:
    """The editors of a notebook's cells, as a person sees them and types into them."""

    def __init__(self, notebook: NotebookPage) -> None:
        self.notebook = notebook

    def look(self, index: int, text: str) -> list[str]:
        """Return colour, weight and slant of the first character of a text, once Lab has read the cell as Python."""
        expect(self.notebook.cell(index).locator('.cm-line [class^="ͼ"]').first).to_be_attached()
        look: list[str] = self._editor(index).evaluate(_LOOK, text)
        return look

    def is_wrapped(self, index: int) -> bool:
        """Whether every line of a cell fits into it."""
        return bool(self._editor(index).evaluate(_IS_WRAPPED))

    def marks(self, index: int, kind: str) -> list[str]:
        """Return what is marked as one of a kind."""
        return self.notebook.cell(index).locator(f".claude-{kind}").all_inner_texts()

    def type(self, index: int, *pieces: str) -> str:
        """Type at a cell's end, `Enter` as a key; return the cell's source."""
        keyboard = self.notebook.page.keyboard
        self.notebook.cell(index).locator(".cm-content").first.click()
        keyboard.press("Control+End")
        for piece in pieces:
            keyboard.press("Enter") if piece == "Enter" else keyboard.type(piece)
        return self.source(index)

    def source(self, index: int) -> str:
        """Return what is sent of a cell when it is run."""
        return str(self.notebook.page.evaluate(_SOURCE, index))

    def _editor(self, index: int) -> Any:
        return self.notebook.cell(index).locator(".cm-editor").first


@pytest.fixture
def open_cells(open_notebook: Callable[..., NotebookPage], folder: NotebookFolder) -> Callable[..., Editors]:
    """Return a function that opens a notebook with these code cells in Lab."""

    def open_in_lab(*sources: str, **how: Any) -> Editors:
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        return Editors(open_notebook(folder.write_notebook("prompts.ipynb", cells), **how))

    return open_in_lab


@pytest.fixture
def open_fresh(browser: Browser, lab: LabServer, folder: NotebookFolder) -> Iterator[Callable[..., Editors]]:
    """Return a function that opens code cells in a page of its own, in Lab or Notebook 7, under settings of its own."""
    changed: list[str] = []
    contexts = []

    def open_in_page(
        *sources: str, settings: Mapping[str, Mapping[str, Any]] | None = None, place: str = "lab/tree"
    ) -> Editors:
        for plugin, values in (settings or {}).items():
            lab.write_settings(plugin, values)
            changed.append(plugin)
        contexts.append(browser.new_context(viewport={"width": 1200, "height": 1000}))
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        path = folder.write_notebook("prompts.ipynb", cells)
        notebook = NotebookPage(lab, contexts[-1].new_page(), path)
        notebook.open(place=place)
        return Editors(notebook)

    yield open_in_page
    for plugin in changed:
        lab.forget_settings(plugin)
    for context in contexts:
        context.close()


def test_a_prompt_has_the_colour_of_prose_and_code_its_own(open_cells: Callable[..., Editors]) -> None:
    """An apostrophe begins no string and `is`, `not` and `if` are words; in a cell of code they are what they were."""
    editors = open_cells(PROMPT, CODE)
    plain = editors.look(0, "known")

    for text in ("is Ada", "'s work", "(in words", "is not", "not known", "if this", "'t a", "all who"):
        assert editors.look(0, text) == plain, text
    for text in ("if x", "is not", "'a'", "'s work", "print"):
        assert editors.look(1, text) != plain, text
    assert editors.marks(1, "line") == []


def test_a_line_that_is_its_whole_cell_reads_as_prose(open_cells: Callable[..., Editors]) -> None:
    """As a cell does; with code above or below it, it is highlighted as the code is."""
    line = "%claude -m opus What is Ada's work? It is known."
    editors = open_cells(f"\n{line}\n", f"{line}\nx = 1 if True else 2")
    plain = editors.look(0, "known")

    for text in ("is Ada", "'s work", "is known"):
        assert editors.look(0, text) == plain, text
        assert editors.look(1, text) != plain, text
    assert editors.marks(0, "magic") == ["%claude"]
    assert editors.marks(0, "option") == ["-m"]
    assert editors.marks(0, "value") == [" opus"]
    assert editors.marks(1, "line") == []


def test_a_long_sentence_is_wrapped(open_cells: Callable[..., Editors]) -> None:
    """In a prompt; a long line of code runs on, as Lab has it."""
    editors = open_cells(PROMPT, f"x = '{LONG}'", width=800)

    assert editors.is_wrapped(0)
    assert not editors.is_wrapped(1)


def test_the_option_line_is_told_apart_and_a_slip_is_marked(open_cells: Callable[..., Editors]) -> None:
    """Known options, values, quoted ones too; what is no option has a wavy line, but not while it is being typed."""
    editors = open_cells(
        "%%claude person << -m opus --system \"Be -brief, don't\" --cells -3: --set a='b c' --modle -- -x is prose\nHi.",
        "%%claude --effort=high -x prose -m\nHi.",
        "%%claude",
    )

    assert editors.marks(0, "magic") == ["%%claude"]
    assert editors.marks(0, "option") == ["-m", "--system", "--cells", "--set", "--"]
    values = [each.strip() for each in editors.marks(0, "value")]
    assert values == ["person <<", "opus", '"Be -brief, don\'t"', "-3:", "a='b c'"]
    assert editors.marks(0, "unknown") == ["--modle"]
    assert editors.marks(1, "option") == ["--effort", "-x"]
    assert editors.marks(1, "value") == ["=high"]
    editors.type(2, " --mod")
    assert editors.marks(2, "unknown") == []
    editors.notebook.page.keyboard.type("le opus")
    assert editors.marks(2, "unknown") == ["--modle"]


def test_braces_and_markdown_are_set_lightly(open_cells: Callable[..., Editors]) -> None:
    """`{{ … }}` is marked, unless `--raw` sends it as typed; headings, lists and fences are."""
    text = "# What {{ x }} is\n- one\n  2. two\n```python\n# {{ y[0] }}\n```\nAnd {% z %}, {{{ z }}}."
    editors = open_cells(f"%%claude\n{text}", f"%%claude --raw\n{text}")

    assert editors.marks(0, "braces") == ["{{ x }}", "{{ y[0] }}"]
    assert editors.marks(1, "braces") == []
    assert editors.marks(0, "heading") == ["# What {{ x }} is"]
    assert editors.marks(0, "fence") == ["```python", "# {{ y[0] }}", "```"]
    assert [each.strip() for each in editors.marks(0, "line .claude-dim")] == ["#", "-", "2."]


def test_a_fence_is_found_wherever_it_opens(open_cells: Callable[..., Editors]) -> None:
    """Far above of what is shown, and after changes: what is above decides, not what is seen."""
    body = "\n".join(f"line {number}" for number in range(3_000))
    editors = open_cells(f"%%claude\n~~~\n{body}\nlast")

    fence = editors.notebook.cell(0).locator(".claude-fence")
    editors.type(0, "!")
    expect(fence.last).to_have_text("last!")
    editors.type(0, "Enter", "~~~", "Enter", "out")
    expect(fence.last).to_have_text("~~~")
    page = editors.notebook.page
    page.keyboard.press("Control+Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Delete")
    editors.type(0, " of it")
    expect(fence.last).to_have_text("out of it")
    expect(fence.filter(has_text="last!")).to_have_count(0)


def test_nothing_is_added_to_what_is_typed(open_fresh: Callable[..., Editors]) -> None:
    """Neither a closing quote or bracket nor an indentation, where Lab is set to add them; and it does so in code."""
    editors = open_fresh(
        "%%claude", "", settings={CODEMIRROR: {"defaultConfig": {"autoClosingBrackets": True}}}
    )

    typed = (
        "Enter",
        'a (b "c',
        "Enter",
        "if [d:",
        "Enter",
        "else:",
        "Enter",
        "e",
        "Enter",
        "  - f",
        "Enter",
        "g",
    )
    assert editors.type(0, *typed) == '%%claude\na (b "c\nif [d:\nelse:\ne\n  - f\n  g'
    assert editors.type(1, "f(", "Enter", "'") == "f(\n    ''\n)"
    editors.type(0, "()")
    editors.notebook.page.keyboard.press("ArrowLeft")
    editors.notebook.page.keyboard.press("Enter")
    assert editors.source(0).endswith("\n  g(\n)")


def test_a_cell_becomes_a_prompt_while_it_is_typed(open_cells: Callable[..., Editors]) -> None:
    """And is code again when its first line is; blank lines may stand above."""
    editors = open_cells("", "%%claudette isn't", "\n\n%%claude\nIt isn't.", "# first\n%%claude isn't")
    first = editors.notebook.cell(0).locator(".claude-line")

    editors.type(0, "%%claude", "Enter", "It isn't.")
    expect(first).to_have_count(2)
    editors.notebook.page.keyboard.press("Control+Home")
    editors.notebook.page.keyboard.type("x")
    expect(first).to_have_count(0)
    assert editors.marks(1, "line") == editors.marks(3, "line") == []
    assert editors.marks(2, "line") == ["%%claude", "It isn't."]


def test_the_setting_switches_it_off(open_fresh: Callable[..., Editors]) -> None:
    """Then a prompt looks as Lab shows it."""
    editors = open_fresh(PROMPT, settings={OURS: {"prose": False}})

    expect(editors.notebook.cell(0).locator(".claude-line")).to_have_count(0)
    assert editors.look(0, "'s work") != editors.look(0, "What")
    assert not editors.is_wrapped(0)


@pytest.mark.parametrize("theme", ["Light", "Dark", "Dark High Contrast"])
def test_it_can_be_read_in_every_theme(open_cells: Callable[..., Editors], theme: str) -> None:
    """Each colour stands out from the cell's own background, by the 4.5 to 1 that WCAG asks of text."""
    editors = open_cells(f"{PROMPT}\n- a list\n# A heading", theme=theme)
    page = editors.notebook.page
    editors.notebook.screenshot(f"prompts-{theme.lower().replace(' ', '-')}")

    ground = (
        editors.notebook.cell(0)
        .locator(".jp-InputArea-editor")
        .evaluate("editor => getComputedStyle(editor).backgroundColor")
    )
    dark = page.evaluate(_LUMINANCE, ground)
    for text in ("%%claude", "-m", "opus", "--modle", "What", "{{ df", "- a list", "A heading"):
        light = page.evaluate(_LUMINANCE, editors.look(0, text)[0])
        assert (max(light, dark) + 0.05) / (min(light, dark) + 0.05) >= 4.5, text


def test_a_lab_that_lacks_something_shows_prompts_as_before(
    browser: Browser, lab: LabServer, folder: NotebookFolder
) -> None:
    """Silently: no word in the console."""
    context = browser.new_context()
    context.add_init_script(
        """let own;
        const name = "claude-magic";
        window._JUPYTERLAB = new Proxy({}, {
            set(target, key, extension) {
                target[key] = key !== name ? extension
                    : { ...extension, init: scope => extension.init({ ...scope, "@codemirror/view": undefined }) };
                return true;
            },
        });"""
    )
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    notebook = NotebookPage(
        lab, page, folder.write_notebook("prompts.ipynb", [nbformat.v4.new_code_cell(PROMPT)])
    )
    notebook.open()

    assert Editors(notebook).marks(0, "line") == []
    assert [each for each in said if "claude" in each] == []
    context.close()


def test_a_prompt_reads_as_prose_in_notebook_7(open_fresh: Callable[..., Editors]) -> None:
    """The same script, in the other front end that Jupyter ships."""
    editors = open_fresh(PROMPT, CODE, "%%claude", place="notebooks")
    editors.notebook.screenshot("prompts-notebook-7")

    assert editors.look(0, "'s work") == editors.look(0, "is not") == editors.look(0, "known")
    assert editors.look(1, "'s work") != editors.look(0, "known")
    assert editors.is_wrapped(0)
    assert editors.marks(0, "unknown") == ["--modle"]
    assert editors.marks(0, "braces") == ["{{ df.mean() }}"]
    assert editors.type(2, "Enter", "a (b", "Enter", "c") == "%%claude\na (b\nc"
