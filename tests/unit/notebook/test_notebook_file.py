"""In which file the notebook of a shell is, as far as a kernel can know."""

from types import SimpleNamespace
from urllib.parse import quote

import pytest

from claude_magic.notebook._history import answers_above, notebook_path


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.chdir(tmp_path)


def shell(cell=None, **names):
    """A shell in which a cell of this id runs."""
    return SimpleNamespace(user_ns=names, parent_header={"metadata": {"cellId": cell} if cell else {}})


def write(path, *cells):
    path.write_text('{"cells": [' + ", ".join(f'{{"id": "{cell}"}}' for cell in cells) + "]}")
    return path


def test_jupyter_names_it_when_it_starts_the_kernel(tmp_path, monkeypatch):
    """With its whole path; names of consoles and files that are not there are none."""
    path = write(tmp_path / "my talk.ipynb", "a")
    for name, found in ((path, path), (tmp_path / "gone.ipynb", None), ("console-1-3fe2", None), ("", None)):
        monkeypatch.setenv("JPY_SESSION_NAME", str(name))
        assert notebook_path(shell("a"), may_search=False) == found


def test_vs_code_names_it_by_a_variable_or_in_the_ids_of_cells(tmp_path):
    """Escaped as in an address."""
    path = write(tmp_path / "my talk.ipynb", "a")
    in_cell = shell(f"vscode-notebook-cell:{quote(str(path))}#W2sZmlsZQ%3D%3D")

    assert notebook_path(shell(__vsc_ipynb_file__=str(path)), may_search=False) == path
    assert notebook_path(in_cell, may_search=True) == path


def test_a_file_of_another_name_is_found_by_the_cell_that_runs(tmp_path, monkeypatch):
    """Where one file has it, and only when that is asked for; a copy leaves it open, and then the name counts."""
    monkeypatch.setenv("JPY_SESSION_NAME", str(write(tmp_path / "new.ipynb", "b")))
    renamed = write(tmp_path / "renamed.ipynb", "a")

    assert notebook_path(shell("a"), may_search=True) == renamed
    assert notebook_path(shell("a"), may_search=False) == tmp_path / "new.ipynb"
    assert notebook_path(shell("unsaved"), may_search=True) == tmp_path / "new.ipynb"
    write(tmp_path / "copy.ipynb", "a")
    assert notebook_path(shell("a"), may_search=True) == tmp_path / "new.ipynb"


def test_without_a_front_end_that_names_its_cells_no_answers_are_above(tmp_path, monkeypatch):
    """A kernel that another notebook has started for a file of its own inherits that notebook's name."""
    turn = '{"claude_magic": {"turn": {"id": "1", "thread": "main"}}}'
    path = tmp_path / "talk.ipynb"
    path.write_text(f'{{"cells": [{{"cell_type": "code", "id": "a", "outputs": [{{"metadata": {turn}}}]}}]}}')
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))

    assert answers_above(shell("unsaved"), "main") == 1
    assert answers_above(shell("unsaved"), "other") == 0
    assert answers_above(shell("a"), "main") == 0
    assert answers_above(shell(), "main") == 0


def test_a_large_file_is_not_read_unasked(tmp_path, monkeypatch):
    """A question would wait for it."""
    path = write(tmp_path / "talk.ipynb", "a")
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    monkeypatch.setattr("claude_magic.notebook._history._MOST_BYTES", 1)
    monkeypatch.setattr("claude_magic.conversation.read_notebook", lambda _path: pytest.fail("it was read"))

    assert answers_above(shell("b"), "main") == 0
