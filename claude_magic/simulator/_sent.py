"""What goes along with a question, told in a few true lines: files, tables, cells, code, errors, pictures, values.

It is recognised by the form that `claude_magic` gives it, or by its fence, and told as far as that form tells.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from ._wire import read_corpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One thing that was sent."""

    label: str
    """What stands above it, without its colon: a file's name, `In [3]`, "The error"."""
    language: str = "block"
    """Of a fence; "table", "value", "media" or "block" for what has none."""
    body: str = ""


_FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<language>[\w+.-]*)[ ]*\n(?P<body>.*?)(?:^(?P=fence)[ \t]*$|\Z)",
    re.DOTALL | re.MULTILINE,
)
_TABLE_HEAD = r"(?:[\w ]+(?: \(\w+\))?: [\d,]+ rows × [\d,]+ columns|Series\b[^\n]*: [\d,]+ values)"
_TABLE = re.compile(
    rf"^{_TABLE_HEAD}.*?(?=^{_TABLE_HEAD}|\Z)|\bArray: [\d,]+(?: × [\d,]+)*, \w+.*", re.DOTALL | re.MULTILINE
)
_TRACEBACK = re.compile(r"^Traceback \(most recent call last\):.*", re.DOTALL | re.MULTILINE)
_LABEL = re.compile(
    r"(?:^|\n)(?P<label>In \[\d+\]|Output of \[\d+\]|The cell[^\n]*|The error|What it wrote to stderr|Code from elsewhere that it ran"
    r"|Values where it happened):\s*\Z"
)
_EXPLAIN = re.compile(
    r"\AExplain `[^`]+` from my notebook:.*? It is this:\s+(?P<label>[^\n]+):\n(?P<body>.*)", re.DOTALL
)
_FIX = re.compile(
    r"\A(?:A cell of my notebook failed|Something in my notebook failed between two cells)\b.*?\n\n",
    re.DOTALL,
)
_VALUE = re.compile(r"[\[{].*[\]}]", re.DOTALL)


def take_apart(text: str) -> tuple[str, tuple[Thing, ...]]:
    """The sentence that was typed, and the things that stand in or around it."""
    explained = _EXPLAIN.match(text)
    if explained is not None:
        found = take_apart(explained["body"])[1] or (
            Thing(label="", language="value", body=explained["body"].strip()),
        )
        return "", tuple(
            Thing(label=explained["label"], language=each.language, body=each.body) for each in found
        )
    typed, things, at = "", [], 0
    text = _FIX.sub("", text).removeprefix("Cells of my notebook:\n")
    while match := min(
        (each for form in (_FENCE, _TABLE, _TRACEBACK) if (each := form.search(text, at))),
        key=lambda each: each.start(),
        default=None,
    ):
        before = text[at : match.start()]
        label = _LABEL.search(before)
        typed += before[: label.start()] if label and match.re is not _TRACEBACK else before
        language = match["language"] if match.re is _FENCE else "table" if match.re is _TABLE else ""
        body = match["body"] if match.re is _FENCE else match[0]
        things.append(Thing(label=label["label"].strip() if label else "", language=language, body=body))
        at = match.end()
    typed += text[at:]
    value = None if things else _VALUE.search(typed)
    if value is not None and isinstance(_literal(value[0]), dict | list) and _literal(value[0]):
        things.append(Thing(label="", language="value", body=value[0]))
        typed = typed[: value.start()] + typed[value.end() :]
    return typed.strip(), tuple(things)


def read_attachment(text: str) -> tuple[Thing, ...] | None:
    """What a block of text of its own holds, in front of the question; None if it is part of the question."""
    label, _, body = text.partition(":\n")
    if "\n" in label or not (label and text.startswith(label + ":\n")):
        return None
    if label == "Cells of my notebook":
        return take_apart(text)[1]
    found = take_apart(body)[1] if body.strip() else ()
    whole = Thing(label=label, body=body.strip("\n"))
    return tuple(Thing(label=label, language=each.language, body=each.body) for each in found[:1]) or (whole,)


def tell_what_was_sent(sent: Sequence[Thing]) -> str | None:
    """What the question brought along; None if it brought nothing."""
    lines = [
        f"- {f'{each.label}: ' if each.label else ''}{line}"
        for each in sent
        if (line := "; ".join(_tell(each)))
    ]
    if not lines:
        return None
    return (
        "This is what reached me:\n\n"
        + "\n".join(lines)
        + (
            "\n\nI am the **simulator**: I can say what was sent, not what follows from it. With a key (`%claude login`) Claude answers."
        )
    )


def _tell(thing: Thing) -> Iterator[str]:
    """Short statements about a thing."""
    if thing.label == "The error" or thing.label.startswith("Output of"):
        lines = thing.body.strip().split("\n")
        yield f"{_many(len(lines), 'line')}, the last is `{_cut(lines[-1])}`"
    elif thing.language == "table":
        yield from _tell_table(thing.body)
    elif thing.language in ("csv", "tsv") or thing.label.endswith((".csv", ".tsv")):
        yield from _tell_csv(thing.body, "\t" if "tsv" in (thing.language, thing.label[-3:]) else ",")
    elif thing.language == "value":
        yield from _tell_value(thing.body)
    elif thing.language in ("python", "py", "python3", "") and (code := _parse(thing.body)) is not None:
        yield from _tell_code(code, len(thing.body.strip().split("\n")))
    elif thing.language == "json":
        yield from _tell_value(thing.body)
    elif thing.language == "media":
        yield thing.body
    elif thing.body:
        lines = thing.body.strip().split("\n")
        yield f"{_many(len(lines), 'line')}, {_many(len(thing.body.split()), 'word')}, beginning with “{_cut(lines[0])}”"


_HEAD = re.compile(r"(.+?): ([\d,]+) (?:rows × ([\d,]+) columns|values)")
_COLUMN = re.compile(r"^- (.+?): \S+?(?:\[[^\]]*\])?(?:, ([\d,]+) missing)?$", re.MULTILINE)
_RANGE = re.compile(r"^(\S.*?) +\S+ +(\S+) +\S+ +(\S+) +\S+ +(\S+) +\S+ +(\S+)$", re.MULTILINE)
_COMMON = re.compile(r"^(.+?): [\d,]+ distinct; most common: (.+?) \(([\d,]+)×\)", re.MULTILINE)
_ROWS = re.compile(r"^(?:All|First) rows:\n(.*(?:\n\S* *)?)\n(.+)$", re.MULTILINE)


def _tell_table(body: str) -> Iterator[str]:
    head = _HEAD.match(body)
    if head is None:
        yield body.partition("\n")[0]
        return
    names = _COLUMN.findall(body)
    listed = ", ".join(f"`{name}`" for name, _ in names[:12])
    yield (
        f"{head[1]} of **{head[2]} rows** and **{head[3]} columns**: {listed}"
        if head[3]
        else f"{head[1]} of {head[2]} values"
    )
    for name, mean, least, median, most in _RANGE.findall(body)[:8]:
        if re.match(r"-?[\d.]", least):
            yield f"`{name}` runs from {least} to **{most}**, its mean is {mean}, its median {median}"
    yield from (
        f"`{name}` is mostly {value} ({times} times)"
        for name, value, times in _COMMON.findall(body)[:8]
        if times != "1"
    )
    yield from (f"`{name}` lacks {missing} values" for name, missing in names if missing)
    rows = _ROWS.search(body)
    if rows is not None:
        yield f"the first row is `{' '.join(rows[2].split())}`"


def _tell_csv(body: str, delimiter: str) -> Iterator[str]:
    rows = [row for row in csv.reader(body.strip("\n").split("\n"), delimiter=delimiter) if row]
    if not rows:
        yield "an empty table"
        return
    names, *data = rows
    yield f"**{_many(len(data), 'row')}** and **{_many(len(names), 'column')}**: {', '.join(f'`{name}`' for name in names[:12])}"
    if data:
        yield f"the first row is `{delimiter.join(data[0])}`"
    for at, name in enumerate(names[:12]):
        try:
            numbered = [(float(row[at]), row) for row in data]
        except (ValueError, IndexError):
            continue
        if numbered and at:
            (_, least), (_, most) = min(numbered), max(numbered)
            yield f"`{name}` runs from {least[at]} ({least[0]}) to **{most[at]}** ({most[0]})"


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _tell_value(body: str) -> Iterator[str]:
    try:
        value = json.loads(body)
    except ValueError:
        value = _literal(body)
    if isinstance(value, dict):
        entries = "entry" if len(value) == 1 else "entries"
        yield f"a dict of {len(value)} {entries}: " + ", ".join(f"`{key}`" for key in list(value)[:12])
    elif isinstance(value, list):
        yield (
            f"a list of {_many(len(value), 'value')}, the first is `{_cut(value[0])}`"
            if value
            else "an empty list"
        )
    else:
        yield f"`{_cut(body)}`"


def _parse(source: str) -> ast.Module | None:
    """Python code, its magics left out; None if it is none, or nothing but words."""
    try:
        tree = ast.parse("\n".join("" if re.match(r"\s*[%!]", line) else line for line in source.split("\n")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return tree if tree.body else None


def _tell_code(tree: ast.Module, lines: int) -> Iterator[str]:
    yield f"{_many(lines, 'line')} of Python"
    imported = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    if imported:
        yield "imports " + ", ".join(f"`{name}`" for name in dict.fromkeys(imported))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            documentation = (ast.get_docstring(node) or "").partition("\n")[0]
            yield f"defines {_signature(node)}" + (f", “{documentation}”" if documentation else "")
    names = [
        name.id
        for node in tree.body
        for name in ast.walk(node)
        if isinstance(name, ast.Name) and _is_set(name, node)
    ]
    if names:
        yield "sets " + ", ".join(f"`{name}`" for name in list(dict.fromkeys(names))[:12])
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        yield f"ends with `{_cut(ast.unparse(last))}`"


def _is_set(name: ast.Name, statement: ast.stmt) -> bool:
    return isinstance(name.ctx, ast.Store) and not isinstance(
        statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    )


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        methods = [
            part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        fields = [ast.unparse(part.target) for part in node.body if isinstance(part, ast.AnnAssign)]
        having = " with " + ", ".join(f"`{name}`" for name in fields + methods) if fields + methods else ""
        return f"the class `{node.name}`{having}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"`{node.name}({ast.unparse(node.args)}){returns}`"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _cut(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


# Errors.
_LAST_LINE = re.compile(
    r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Interrupt|Warning|Exit))(?:: ?(.*))?$", re.MULTILINE
)
_PLACE = re.compile(r'(?:File ")?((?<=File ")[^"\n]+|Cell In ?\[\d+\])"?, line (\d+)(?:, in (\S+))?')
_KEY = re.compile(
    r"""(?:^- |^|[{,(]\s*|\[)(?:["'](?P<quoted>[^"'\n]+)["']|(?P<plain>\w[^:\n"']*))(?=\s*[:\]])""",
    re.MULTILINE,
)


@cache
def _meanings() -> dict[str, tuple[str, str]]:
    """For each exception what it means, and what to do."""
    parts = [part.strip().split("\n\n") for part in read_corpus("errors.txt").split("## ") if part]
    return {name: (meaning, advice) for name, meaning, advice in parts}


def explain_error(sent: Sequence[Thing]) -> str | None:
    """What the error among the things means and what to do; None where there is none."""
    errors = [
        each
        for each in sent
        if each.label == "The error" or (not each.language and _TRACEBACK.search(each.body))
    ]
    found = _LAST_LINE.findall(errors[-1].body) if errors else []
    if not found:
        return None
    name, message = found[-1]
    meaning, advice = _meanings().get(name, _meanings()["Other"])
    parts = [f"## {name}", f"**What it means**: {meaning}."]
    if message:
        parts.append(f"**What it says**: `{message.strip()}`")
    places = _PLACE.findall(errors[-1].body)
    if places:
        place, line, function = next(
            (each for each in reversed(places) if each[0].startswith("Cell")), places[-1]
        )
        inside = f", in `{function}`" if function and function != "<module>" else ""
        parts.append(
            f"**Where**: line {line} of `{place}`{inside}. The lines around it tell how the program got there."
        )
    wrong, nearest = _nearest(name, message, sent)
    if nearest is not None:
        parts.append(f"**Nearest**: of the names that were sent, `{nearest}` is closest to `{wrong}`.")
    parts.append(f"**What to do**: {advice}")
    cell = next((each.body for each in sent if each.label.startswith("The cell")), None)
    if cell is not None and (corrected := _correct(cell, name, wrong, nearest)):
        parts.append(corrected)
    return "\n\n".join(parts)


def _nearest(error: str, message: str, sent: Sequence[Thing]) -> tuple[str, str | None]:
    """The name that was not found, and the one among the things that is closest to it."""
    offered = re.search(r"'(\w+)'[^']*Did you mean: '(.+?)'", message)
    if offered is not None:
        return offered[1], offered[2]
    wrong = message.strip().strip("'\"") if error == "KeyError" else ""
    known = [match["quoted"] or match["plain"] for each in sent for match in _KEY.finditer(each.body)]
    close = get_close_matches(wrong, [name for name in known if name != wrong], n=1) if wrong else []
    return wrong, close[0] if close else None


def _correct(cell: str, error: str, wrong: str, nearest: str | None) -> str | None:
    """The cell with the nearest name in the place of the wrong one, else with the error handled."""
    if nearest is not None and re.search(rf"\b{re.escape(wrong)}\b", cell):
        corrected = re.sub(rf"\b{re.escape(wrong)}\b", nearest, cell).strip()
        return f"With that name:\n\n```python\n{corrected}\n```"
    try:
        body = ast.parse(cell).body
    except (SyntaxError, ValueError, RecursionError):
        return None
    source = "\n".join(f"    {line}" for line in ast.unparse(ast.Module(body, [])).split("\n"))
    handled = f'try:\n{source}\nexcept {error} as error:\n    print(f"{error}: {{error}}")'
    return f"This cell handles the error; what to do instead is yours to say:\n\n```python\n{handled}\n```"
