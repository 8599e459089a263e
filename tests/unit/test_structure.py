"""The structure of the package: the size of files, and the use of exported names."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from pathlib import Path

import pytest

import claude_magic
from claude_magic.bulk import MapRequest
from claude_magic.client import ClientConfig
from claude_magic.notebook._options import Options
from claude_magic.runtime import Question, Settings

ROOT = Path(claude_magic.__file__).parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
FEWEST, MOST = 40, 450
"""Code lines of a file: blank lines, comments and docstrings left out."""

SMALL = {
    "_version.py": "the one place of the version, which the build reads",
}
LARGE: dict[str, str] = {}
PUBLIC = {"client", "simulator"}
"""Packages that users import from: what they export is for others than us, too."""
FOR_OTHERS = {"register"}
"""Names of other packages that other libraries may call."""


def code_lines(source: str) -> int:
    """Count the lines with code."""
    skipped = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(body := getattr(node, "body", None), list)
        for statement in body
        if isinstance(statement, ast.Expr) and isinstance(getattr(statement.value, "value", None), str)
        for line in range(statement.lineno, (statement.end_lineno or 0) + 1)
    }
    empty = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    spans = [(token.start[0], token.end[0]) for token in tokens if token.type not in empty]
    return len({line for start, end in spans for line in range(start, end + 1)} - skipped)


@functools.cache
def names_used(path: Path) -> set[tuple[str, str]]:
    """Return what a file imports, or looks up in a module (`runtime_module.close_runtime`): package and name."""
    used = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            used |= {((node.module or "").split(".")[-1], each.name) for each in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used.add((node.value.id.removesuffix("_module"), node.attr))
    return used


def exported(package: str) -> list[str]:
    """Return the names that the `__init__.py` of a package exports: all that it imports."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level]
    return [name.asname or name.name for node in imports for name in node.names]


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_an_idea(name: str) -> None:
    """A file is neither so small that it belongs to another, nor too large. Exceptions have a reason, above."""
    count = code_lines((ROOT / name).read_text(encoding="utf-8"))

    if not name.endswith("__init__.py"):
        assert count >= FEWEST or name in SMALL, (
            f"{name} has {count} lines: join it with the file that it serves"
        )
    assert count <= MOST or name in LARGE, f"{name} has {count} lines: split it where one idea ends"


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_an_exception_is_still_needed(name: str) -> None:
    """An exception whose file is within the limits must be removed."""
    count = code_lines((ROOT / name).read_text(encoding="utf-8"))

    assert not FEWEST <= count <= MOST, f"{name} has {count} lines: take it off the list"


PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_exports_is_used(package: str) -> None:
    """By another package. Tests import what only they need from the file; public names may be used by anyone."""
    others = [path for path in ROOT.rglob("*.py") if ROOT / package not in path.parents]
    used = set().union(*map(names_used, others))

    unused = {name for name in exported(package) if (package, name) not in used} - FOR_OTHERS

    assert package in PUBLIC or unused == set(), (
        f"{package} exports {unused}, and no other package imports that: take it out"
    )


def test_the_package_stays_as_small_as_it_is() -> None:
    """Total files and code lines.

    Only a new capability, a mended fault, or a measured gain in speed raises the numbers, in the same commit.
    """
    counts = [code_lines((ROOT / name).read_text(encoding="utf-8")) for name in FILES]

    # 124 after the last restructuring; later: maps, batches, cassettes, a shared limit (docs/decisions/0022 to 0025).
    assert len(counts) == 156
    assert sum(counts) == 36_353


@pytest.mark.parametrize("kind", [Options, Settings, ClientConfig, Question, MapRequest])
def test_each_field_is_described(kind: type) -> None:
    """In the docstring of its class."""
    described = "\n".join(each.__doc__ or "" for each in kind.__mro__[:-1])

    missing = [
        name for name in kind.__annotations__ if not re.search(rf"^ +{name}:", described, re.MULTILINE)
    ]
    assert not missing, f"{kind.__name__}: add a line to `Attributes:` for {missing}"


ARCHITECTURE = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
SOURCES = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in FILES)


@pytest.mark.parametrize(
    "name",
    sorted(set(re.findall(r"`(?:[\w/.]*[/.])?(_\w+|(?!NamedTuple)[A-Z][a-z]\w+)(?:\.py)?`", ARCHITECTURE))),
)
def test_what_the_architecture_names_is_there(name: str) -> None:
    """A file, a class, a function or a table."""
    is_file = any(file.endswith(f"/{name}.py") for file in FILES)

    assert is_file or re.search(rf"\b(?:class|def) {name}\b|^{name}\b.* = ", SOURCES, re.MULTILINE)
