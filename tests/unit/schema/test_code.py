"""The code of an answer, for `reply.code`, `-x` and `-f code`."""

from __future__ import annotations

import pytest

from claude_magic.schema import extract_code, find_code


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Try this:\n\n```python\nx = 1\n```\n\nIt works.", "x = 1"),
        ("```py\na = 1\n```\nthen\n```python\nb = 2\n```", "a = 1\n\nb = 2"),
        ("~~~\nls\n~~~", "ls"),
        ("````\n```\nx\n```\n````", "```\nx\n```"),
        ("1. First:\n\n   ```python\n   for x in y:\n       z\n   ```\n2. Then", "for x in y:\n    z"),
        ("- a\n\n        ```python\n        q = 1\n        ```", "q = 1"),
        ("> ```python\n> q = 1\n> ```", "q = 1"),
        ("```python\r\nx = 1\r\ny = 2\r\n```\r\n", "x = 1\ny = 2"),
        ("```{python}\nx = 1\n```", "x = 1"),
        ('```Python title="a.py"\nx = 1\n```', "x = 1"),
        ("```sql\nselect 1\n```\n```\nout\n```", "select 1\n\nout"),
        ("```python\n\n\n    x = 1\n\n\n```", "    x = 1"),
    ],
)
def test_fenced_blocks_are_the_code(answer: str, code: str) -> None:
    """Wherever Markdown has a fenced block, at any indentation; several are joined."""
    assert extract_code(answer) == code


def test_python_is_preferred() -> None:
    """Output and shell lines beside a Python block are not for the cell."""
    answer = "```bash\npip install x\n```\n```python\nimport x\n```\n```\n42\n```"

    assert extract_code(answer) == "import x"


def test_a_block_without_a_closing_fence_counts() -> None:
    """As in an answer that ends at `max_tokens`."""
    assert extract_code("Here:\n```python\nx = 1\ny = ") == "x = 1\ny ="


@pytest.mark.parametrize(
    "answer",
    [
        "import math\nprint(math.pi)",
        "print('hi')",
        "x = 1",
        "def f():\n    return 1\n",
        "[x**2 for x in range(3)]",
        "%matplotlib inline\nx = 1",
        "!ls -l",
        "%%bash\necho hi",
        "    x = 1\n    y = 2",
        "re.match('\\d', x)",
    ],
)
def test_an_answer_of_code_without_a_fence_is_the_code(answer: str) -> None:
    """Some models leave out the fence if asked for code only. IPython's syntax counts as code."""
    assert extract_code(answer) == answer.strip("\n")


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Yes.",
        "Hello",
        "42",
        "not sure",
        "Note: this",
        "Probably (but who knows)",
        "pass",
        "a, b",
        "this is it",
        '{"a": 1}',
        "`x = 1`",
        "Use `x = 1`.\n\nThen run it.",
        "```\n```",
        "[" * 10_000,
        "x = \x00",
    ],
)
def test_prose_is_not_code(answer: str) -> None:
    """Words that are also valid Python are prose."""
    assert extract_code(answer) == ""


def test_blocks_have_their_language() -> None:
    """For syntax highlighting."""
    assert [block.language for block in find_code("```SQL\nselect 1\n```")] == ["sql"]
    assert [block.language for block in find_code("print(1)")] == ["python"]
