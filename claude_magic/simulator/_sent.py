"""What goes along with a question, told in a few true lines: files, tables, cells, code, errors, pictures, values.

It is recognised by the form that `claude_magic` gives it, or by its fence, and told as far as that form tells.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import dataclasses
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from ._wire import read_corpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One thing that was sent."""

    label: str = ""
    """What stands above it, without its colon: a file's name, `In [3]`, "The error"."""
    language: str = "block"
    """Of a fence; "table", "value", "media" or "block" for what has none."""
    body: str = ""


_TABLE_HEAD = (
    r"(?:[\w ]{1,60}(?: \(\w+\))?: [\d,]+ rows × [\d,]+ columns|Series\b[^\n]{0,200}: [\d,]+ values)"
)
_THING = re.compile(
    r"^(?P<fence>`{3,})(?P<language>[\w+.-]*) *\n(?P<code>.*?)(?:^(?P=fence) *$|\Z)"
    rf"|(?P<table>^{_TABLE_HEAD}.*?(?=^{_TABLE_HEAD}|\Z)|\bArray: [\d,]+(?: × [\d,]+)*, \w+.*)"
    r"|^Traceback \(most recent call last\):.*",
    re.DOTALL | re.MULTILINE,
)
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
_LONGEST_VALUE = 20_000
_LONGEST_LABEL = 200
_MOST = 12
"""Things and columns that are told, names that are listed."""
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_HONESTLY = "I am the **simulator**: I can say what was sent, not what follows from it. With a key (`%claude login`) Claude answers."


def take_apart(text: str) -> tuple[str, tuple[Thing, ...]]:
    """The sentence that was typed, and the things that stand in or around it."""
    explained = _EXPLAIN.match(text)
    if explained is not None:
        return "", _labelled(explained["label"], explained["body"], "value")
    typed, things, at = "", [], 0
    text = _FIX.sub("", text).removeprefix("Cells of my notebook:\n")
    for match in _THING.finditer(text):
        before = text[at : match.start()]
        label = _LABEL.search(before, max(0, len(before) - _LONGEST_LABEL))
        typed += before[: label.start()] if label else before
        language = "table" if match["table"] else match["language"] or ""
        body = match[0] if match["fence"] is None else match["code"]
        things.append(Thing(label=label["label"] if label else "", language=language, body=body))
        at = match.end()
    typed += text[at:]
    value = "" if things else _value_in(typed[:_LONGEST_VALUE])
    if value:
        return typed.replace(value, "", 1).strip(), (Thing(language="value", body=value),)
    return typed.strip(), tuple(things)


def _value_in(text: str) -> str:
    """The dict or list that stands in a sentence; "" if none does."""
    begins = [at for at in (text.find("["), text.find("{")) if at >= 0]
    value = text[min(begins, default=len(text)) : max(text.rfind("]"), text.rfind("}")) + 1]
    found = _literal(value)
    return value if isinstance(found, dict | list) and found else ""


def _labelled(label: str, body: str, otherwise: str) -> tuple[Thing, ...]:
    found = take_apart(body)[1][:1] or (Thing(language=otherwise, body=body.strip("\n")),)
    return tuple(dataclasses.replace(each, label=label) for each in found)


def read_attachment(text: str) -> tuple[Thing, ...] | None:
    """What a block of text of its own holds, in front of the question; None if it is part of the question."""
    match = re.fullmatch(r"([^\n]+):(?:\n(.*))?", text, re.DOTALL)
    if match is None:
        return None
    label, body = match[1], match[2] or ""
    return take_apart(text)[1] if label == "Cells of my notebook" else _labelled(label, body, "block")


def tell_what_was_sent(sent: Sequence[Thing]) -> str | None:
    """What the question brought along; None if it brought nothing."""
    between = "\n  - " if len(sent) == 1 else "; "
    told = [(each.label, between.join(_tell(each))) for each in sent[:_MOST]]
    lines = [f"- {label}: {line}" if label else f"- {line}" for label, line in told if line]
    return "\n".join(("This is what reached me:\n", *lines, "", _HONESTLY)) if lines else None


def _tell(thing: Thing) -> Iterator[str]:
    """Short statements about a thing."""
    language, body, lines = thing.language, thing.body, thing.body.strip().split("\n")
    ending = thing.label.rpartition(".")[2]
    if thing.label == "The error" or thing.label.startswith("Output of"):
        yield f"{_many(len(lines), 'line')}, the last is `{_cut(lines[-1])}`"
    elif language == "table":
        yield from _tell_table(body)
    elif {"csv", "tsv"} & {language, ending}:
        yield from _tell_csv(lines, "\t" if "tsv" in (language, ending) else ",")
    elif language in ("value", "json"):
        yield _tell_value(body)
    elif language in ("python", "py", "") and (code := _parse(body)) is not None:
        yield f"{_many(len(lines), 'line')} of Python"
        with contextlib.suppress(RecursionError):
            yield from list(_tell_code(code))
    elif language == "media":
        yield body
    elif body:
        yield f"{_many(len(lines), 'line')}, {_many(len(body.split()), 'word')}, beginning with “{_cut(lines[0])}”"


_HEAD = re.compile(r"(.+?): ([\d,]+) (?:rows × ([\d,]+) columns|values)")
_COLUMN = re.compile(r"^- (.+?): \S+?(?:\[[^\]]*\])?(?:, ([\d,]+) missing)?$", re.MULTILINE)
_RANGE = re.compile(r"^(\S.*?) +\S+ +(\S+) +\S+ +(\S+) +\S+ +(\S+) +\S+ +(\S+)$", re.MULTILINE)
_COMMON = re.compile(r"^(.+?): [\d,]+ distinct; most common: (.+?) \(([\d,]+)×\)", re.MULTILINE)
_FIRST_ROWS = re.compile(r"^(?:All|First) rows:$", re.MULTILINE)
_ROWS = re.compile(r"^(?:All|First) rows:\n(.*(?:\n\S* *)?)\n(.+)$", re.MULTILINE)


def _tell_table(body: str) -> Iterator[str]:
    head = _HEAD.match(body)
    if head is None:
        yield body.partition("\n")[0]
        return
    # What looks like statistics among the rows is none.
    facts = _FIRST_ROWS.split(body, maxsplit=1)[0]
    columns = _COLUMN.findall(facts)
    size = f"**{head[2]} rows** and **{head[3]} columns**: {_names(name for name, _ in columns)}"
    yield f"{head[1]} of {size if head[3] else f'{head[2]} values'}"
    for name, *numbers in _RANGE.findall(facts)[:_MOST]:
        mean, least, median, most = numbers
        if all(re.match(r"-?[\d.]", number) for number in numbers):
            yield f"`{name}` runs from {least} to **{most}**, its mean is {mean}, its median {median}"
    for name, value, times in _COMMON.findall(facts)[:_MOST]:
        if times != "1":
            yield f"`{name}` is mostly {value} ({times} times)"
    yield from (
        f"`{name}` lacks {_many(int(missing.replace(',', '')), 'value')}"
        for name, missing in columns
        if missing
    )
    if rows := _ROWS.search(body):
        yield f"the first row is `{' '.join(rows[2].split())}`"


def _tell_csv(lines: Sequence[str], delimiter: str) -> Iterator[str]:
    try:
        read = [row for row in csv.reader(lines, delimiter=delimiter) if row and not row[0].startswith("[… ")]
    except csv.Error as error:
        yield f"{_many(len(lines), 'line')}, which cannot be read as a table: {error}"
        return
    names, *rows = read or [[]]
    yield f"**{_many(len(rows), 'row')}** and **{_many(len(names), 'column')}**: {_names(names)}"
    if rows:
        yield f"the first row is `{delimiter.join(rows[0])}`"
    for at, name in enumerate(names[1:_MOST], 1):
        with contextlib.suppress(ValueError, IndexError):
            ordered = [
                rows[place] for _, place in sorted((float(row[at]), place) for place, row in enumerate(rows))
            ]
            (label, *_), (other, *_) = ordered[0], ordered[-1]
            yield f"`{name}` runs from {ordered[0][at]} ({label}) to **{ordered[-1][at]}** ({other})"


def _literal(text: str) -> object:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return ast.literal_eval(text)
    return None


def _tell_value(body: str) -> str:
    value = _literal(body)
    if isinstance(value, dict):
        return f"a dict of {len(value)} {'entry' if len(value) == 1 else 'entries'}: {_names(value)}"
    if isinstance(value, list) and value:
        return f"a list of {_many(len(value), 'value')}, the first is `{_cut(value[0])}`"
    return f"`{_cut(body)}`"


def _parse(source: str) -> ast.Module | None:
    """Python code, its magics left out; None if it is none."""
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        tree = ast.parse(re.sub(r"^\s*[%!].*", "", source, flags=re.MULTILINE))
        return tree if tree.body else None
    return None


def _tell_code(tree: ast.Module) -> Iterator[str]:
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    if imports:
        yield f"imports {_names(alias.name for node in imports for alias in node.names)}"
    others = [node for node in tree.body if not isinstance(node, _DEFINITIONS)]
    for node in tree.body:
        if isinstance(node, _DEFINITIONS):
            documentation = (ast.get_docstring(node) or "").partition("\n")[0]
            yield f"defines {_signature(node)}" + (f", “{documentation}”" if documentation else "")
    names = [name for node in others for name in ast.walk(node) if isinstance(name, ast.Name)]
    if set_ones := [name.id for name in names if isinstance(name.ctx, ast.Store)]:
        yield f"sets {_names(set_ones)}"
    if isinstance(tree.body[-1], ast.Expr):
        yield f"ends with `{_cut(ast.unparse(tree.body[-1]))}`"


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    if not isinstance(node, ast.ClassDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return f"`{node.name}({ast.unparse(node.args)}){returns}`"
    fields = [ast.unparse(part.target) for part in node.body if isinstance(part, ast.AnnAssign)]
    members = [*fields, *(part.name for part in node.body if isinstance(part, _DEFINITIONS))]
    return f"the class `{node.name}`" + (f" with {_names(members)}" if members else "")


def _names(names: Iterable[str]) -> str:
    each = list(dict.fromkeys(map(str, names)))
    return ", ".join(f"`{name}`" for name in each[:_MOST]) + (", …" if len(each) > _MOST else "")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


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
    shown = next(
        (each.body for each in sent if each.label == "The error" or each.body.startswith("Traceback (")), ""
    )
    found = _LAST_LINE.findall(shown)
    if not found:
        return None
    name, message = found[-1]
    meaning, advice = _meanings().get(name, _meanings()["Other"])
    parts = [f"## {name}", f"**What it means**: {meaning}.", f"**What it says**: `{message.strip()}`"]
    places = _PLACE.findall(shown)
    if places:
        place, line, function = ([each for each in places if each[0].startswith("Cell")] or places)[-1]
        inside = f", in `{function}`" if function and function != "<module>" else ""
        parts.append(f"**Where**: line {line} of `{place}`{inside}.")
    wrong, nearest = _nearest(name, message, sent)
    if nearest is not None:
        parts.append(f"**Nearest**: of the names that were sent, `{nearest}` is closest to `{wrong}`.")
    parts.append(f"**What to do**: {advice}")
    cells = [each.body for each in sent if each.label.startswith("The cell")]
    return "\n\n".join([*parts, *(_correct(cell, name, wrong, nearest) for cell in cells)])


def _nearest(error: str, message: str, sent: Sequence[Thing]) -> tuple[str, str | None]:
    """The name that was not found, and the one among the things that is closest to it."""
    offered = re.search(r"'(\w+)'[^']*Did you mean: '(.+?)'", message)
    if offered is not None:
        return offered[1], offered[2]
    wrong = message.strip().strip("'\"") if error == "KeyError" else ""
    known = [match["quoted"] or match["plain"] for each in sent for match in _KEY.finditer(each.body)]
    close = get_close_matches(wrong, [name for name in known if name != wrong], n=1) if wrong else []
    return wrong, close[0] if close else None


def _correct(cell: str, error: str, wrong: str, nearest: str | None) -> str:
    """The cell with the nearest name in the place of the wrong one, else with the error handled."""
    written = re.compile(rf"\b{re.escape(wrong)}\b")
    if nearest is not None and written.search(cell):
        return f"With that name:\n\n```python\n{written.sub(lambda _: nearest, cell).strip()}\n```"
    if _parse(cell) is None or re.search(r"^\s*[%!]", cell, re.MULTILINE):
        return ""
    handled = f'try:\n{textwrap.indent(cell.strip(), "    ")}\nexcept {error} as error:\n    print(f"{error}: {{error}}")'
    return f"This cell handles the error; what to do instead is yours to say:\n\n```python\n{handled}\n```"
