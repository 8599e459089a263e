"""The file of a shell's notebook, as far as the kernel can determine it."""

import json
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from claude_magic.notebook._notebook_file import answers_above, is_below, notebook_path


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.chdir(tmp_path)


def shell(cell=None, **names):
    """Return a shell that runs the cell with this id."""
    return SimpleNamespace(user_ns=names, parent_header={"metadata": {"cellId": cell} if cell else {}})


def write(path, *cells):
    path.write_text('{"cells": [' + ", ".join(f'{{"id": "{cell}"}}' for cell in cells) + "]}")
    return path


def test_jupyter_passes_the_path_when_it_starts_the_kernel(tmp_path, monkeypatch):
    """As a full path; consoles and missing files do not count."""
    path = write(tmp_path / "my talk.ipynb", "a")
    for name, found in ((path, path), (tmp_path / "gone.ipynb", None), ("console-1-3fe2", None), ("", None)):
        monkeypatch.setenv("JPY_SESSION_NAME", str(name))
        assert notebook_path(shell("a"), may_search=False) == found


def test_vs_code_passes_the_path_in_a_variable_or_in_cell_ids(tmp_path):
    """Escaped as in a URL."""
    path = write(tmp_path / "my talk.ipynb", "a")
    in_cell = shell(f"vscode-notebook-cell:{quote(str(path))}#W2sZmlsZQ%3D%3D")

    assert notebook_path(shell(__vsc_ipynb_file__=str(path)), may_search=False) == path
    assert notebook_path(in_cell, may_search=True) == path


def test_a_renamed_file_is_found_by_the_running_cell(tmp_path, monkeypatch):
    """If exactly one file contains it, and only on request; with several copies, the original name counts."""
    monkeypatch.setenv("JPY_SESSION_NAME", str(write(tmp_path / "new.ipynb", "b")))
    renamed = write(tmp_path / "renamed.ipynb", "a")

    assert notebook_path(shell("a"), may_search=True) == renamed
    assert notebook_path(shell("a"), may_search=False) == tmp_path / "new.ipynb"
    assert notebook_path(shell("unsaved"), may_search=True) == tmp_path / "new.ipynb"
    write(tmp_path / "copy.ipynb", "a")
    assert notebook_path(shell("a"), may_search=True) == tmp_path / "new.ipynb"


def test_without_cell_ids_no_answers_are_above(tmp_path, monkeypatch):
    """A kernel started by another notebook, for a file of its own, inherits that notebook's name."""
    turn = '{"claude_magic": {"turn": {"id": "1", "thread": "main"}}}'
    path = tmp_path / "talk.ipynb"
    path.write_text(f'{{"cells": [{{"cell_type": "code", "id": "a", "outputs": [{{"metadata": {turn}}}]}}]}}')
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))

    assert answers_above(shell("unsaved"), "main") == 1
    assert answers_above(shell("unsaved"), "other") == 0
    assert answers_above(shell("a"), "main") == 0
    assert answers_above(shell(), "main") == 0


def test_a_large_file_is_not_read_for_a_question(tmp_path, monkeypatch):
    """The question would wait for it."""
    path = write(tmp_path / "talk.ipynb", "a")
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    monkeypatch.setattr("claude_magic.notebook._notebook_file._MOST_BYTES", 1)
    monkeypatch.setattr("claude_magic.conversation.read_notebook", lambda _path: pytest.fail("it was read"))

    assert answers_above(shell("b"), "main") == 0


@pytest.mark.parametrize(
    ("below", "expected"),
    [
        ([("code", "import pandas\ndf\n")], True),
        ([("code", ["import pandas\n", "df"])], True),
        ([("markdown", "Notes"), ("code", "import pandas\ndf")], True),
        ([("code", "import pandas\ndf.head()")], False),
        ([("code", "other"), ("code", "import pandas\ndf")], False),
        ([], False),
    ],
)
def test_inserted_code_is_recognised_in_the_first_code_cell_below(tmp_path, monkeypatch, below, expected):
    """Unchanged, and also if the file was renamed after the kernel was started."""
    cells = [{"cell_type": "code", "id": "above", "source": "import pandas\ndf"}]
    cells.append({"cell_type": "code", "id": "a", "source": "%claude -x Load it"})
    cells += [{"cell_type": kind, "source": source} for kind, source in below]
    path = tmp_path / "talk.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    for name in (path, tmp_path / "untitled.ipynb"):
        monkeypatch.setenv("JPY_SESSION_NAME", str(name))
        assert is_below(shell("a"), "import pandas\ndf") is expected
        assert not is_below(shell("unsaved"), "import pandas\ndf")
        assert not is_below(shell(), "import pandas\ndf")


@pytest.mark.parametrize(
    "content", ["", "[]", '{"cells": [1]}', '{"cells": [{"id": "a"}, {"cell_type": "code"}]}']
)
def test_no_code_is_recognised_in_a_damaged_file(tmp_path, monkeypatch, content):
    path = tmp_path / "talk.ipynb"
    path.write_text(content)
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))

    assert not is_below(shell("a"), "x = 1")
