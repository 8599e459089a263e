"""The front-end extension in JupyterLab and Notebook 7: prompts of `%%claude` cells read as prose, and code cells do
not change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import nbformat
import pytest
from lab_server import LabServer, NotebookFolder
from notebook_page import NotebookPage
from playwright.sync_api import Browser, expect

# No cell is run here.
LONG = (
    "It is not known if this isn't a long sentence: "
    + "it goes on, and is read as prose by all who see it, " * 6
)
PROMPT = f"%%claude -m opus --modle x\nWhat is Ada's work (in words)?\n{LONG}\nThe mean of {{{{ df.mean() }}}} and its use."
CODE = "if x is not None:\n    print('a', x)\n%claude What is Ada's work?"

# The colour and weight of a text in an editor: those of the innermost element that contains its first character.
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
    """The editors of a notebook's cells."""

    def __init__(self, notebook: NotebookPage) -> None:
        self.notebook = notebook

    def look(self, index: int, text: str) -> list[str]:
        """Return colour, weight and style of the first character of a text, once Lab has parsed the cell as Python."""
        expect(self.notebook.cell(index).locator('.cm-line [class^="ͼ"]').first).to_be_attached()
        look: list[str] = self._editor(index).evaluate(_LOOK, text)
        return look

    def is_wrapped(self, index: int) -> bool:
        """Return whether each line of a cell fits the width of the cell."""
        return bool(self._editor(index).evaluate(_IS_WRAPPED))

    def marks(self, index: int, kind: str) -> list[str]:
        """Return the texts that are marked as one kind."""
        return self.notebook.cell(index).locator(f".claude-{kind}").all_inner_texts()

    def type(self, index: int, *pieces: str) -> str:
        """Type at the end of a cell, with `Enter` as a key. Return the source of the cell."""
        keyboard = self.notebook.page.keyboard
        self.notebook.cell(index).locator(".cm-content").first.click()
        keyboard.press("Control+End")
        for piece in pieces:
            keyboard.press("Enter") if piece == "Enter" else keyboard.type(piece)
        return self.source(index)

    def source(self, index: int) -> str:
        """Return the source that is sent when a cell is run."""
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
    """Return a function that opens code cells in a separate page, in Lab or Notebook 7, with its own settings."""
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
    """In a prompt, an apostrophe starts no string, and `is`, `not` and `if` are words. Code cells are unchanged."""
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
    """In a prompt; long lines of code are not wrapped, which is Lab's default."""
    editors = open_cells(PROMPT, f"x = '{LONG}'", width=800)

    assert editors.is_wrapped(0)
    assert not editors.is_wrapped(1)


def test_the_option_line_looks_different_and_a_slip_is_marked(open_cells: Callable[..., Editors]) -> None:
    """Known options and values, including quoted ones, are coloured.

    Unknown options have a wavy underline, except while they are typed.
    """
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
    """`{{ … }}` is marked, except with `--raw`. Headings, lists and fences are marked."""
    text = "# What {{ x }} is\n- one\n  2. two\n```python\n# {{ y[0] }}\n```\nAnd {% z %}, {{{ z }}}."
    editors = open_cells(f"%%claude\n{text}", f"%%claude --raw\n{text}")

    assert editors.marks(0, "braces") == ["{{ x }}", "{{ y[0] }}"]
    assert editors.marks(1, "braces") == []
    assert editors.marks(0, "heading") == ["# What {{ x }} is"]
    assert editors.marks(0, "fence") == ["```python", "# {{ y[0] }}", "```"]
    assert [each.strip() for each in editors.marks(0, "line .claude-dim")] == ["#", "-", "2."]


def test_a_fence_is_found_wherever_it_opens(open_cells: Callable[..., Editors]) -> None:
    """Also far above the visible lines, and after changes: all lines above count, not only visible ones."""
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
    """Neither closing quotes or brackets nor indentation, although Lab's settings add them; in code cells they are
    added."""
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
    """It becomes code again when its first line does. Blank lines above are allowed."""
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
    """Prompts then look as in Lab without the extension."""
    editors = open_fresh(PROMPT, settings={OURS: {"prose": False}})

    expect(editors.notebook.cell(0).locator(".claude-line")).to_have_count(0)
    assert editors.look(0, "'s work") != editors.look(0, "What")
    assert not editors.is_wrapped(0)


@pytest.mark.parametrize("theme", ["Light", "Dark", "Dark High Contrast"])
def test_it_can_be_read_in_every_theme(open_cells: Callable[..., Editors], theme: str) -> None:
    """Each colour has a contrast of at least 4.5 to 1 (WCAG) with the cell's background."""
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
    """Without messages in the console."""
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
    """With the same script."""
    editors = open_fresh(PROMPT, CODE, "%%claude", place="notebooks")
    editors.notebook.screenshot("prompts-notebook-7")

    assert editors.look(0, "'s work") == editors.look(0, "is not") == editors.look(0, "known")
    assert editors.look(1, "'s work") != editors.look(0, "known")
    assert editors.is_wrapped(0)
    assert editors.marks(0, "unknown") == ["--modle"]
    assert editors.marks(0, "braces") == ["{{ df.mean() }}"]
    assert editors.type(2, "Enter", "a (b", "Enter", "c") == "%%claude\na (b\nc"
