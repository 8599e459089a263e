"""Descriptions of a question's attachments: files, tables, cells, code, errors, images, values.

Attachments are recognised by the format that `claude_magic` writes, or by a code fence. A description states only facts
that the format contains.
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
class Attachment:
    """An attachment of a question."""

    label: str = ""
    """The line above it, without the colon: a file name, `In [3]`, "The error"."""
    language: str = "block"
    """The language of the fence; without a fence, "table", "value", "media" or "block"."""
    body: str = ""


_TABLE_HEAD = (
    r"(?:[\w ]{1,60}(?: \(\w+\))?: [\d,]+ rows × [\d,]+ columns|Series\b[^\n]{0,200}: [\d,]+ values)"
)
_ATTACHMENT = re.compile(
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
"""Maximum number of attachments and columns that are described, and of names in a list."""
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_DISCLAIMER = "I am the **simulator**: I can say what was sent, not what follows from it. With a key (`%claude login`) Claude answers."


def split_prompt(text: str) -> tuple[str, tuple[Attachment, ...]]:
    """Split a prompt into the typed sentence and the attachments in or around it."""
    explained = _EXPLAIN.match(text)
    if explained is not None:
        return "", _with_label(explained["label"], explained["body"], "value")
    typed, things, at = "", [], 0
    text = _FIX.sub("", text).removeprefix("Cells of my notebook:\n")
    for match in _ATTACHMENT.finditer(text):
        before = text[at : match.start()]
        label = _LABEL.search(before, max(0, len(before) - _LONGEST_LABEL))
        typed += before[: label.start()] if label else before
        language = "table" if match["table"] else match["language"] or ""
        body = match[0] if match["fence"] is None else match["code"]
        things.append(Attachment(label=label["label"] if label else "", language=language, body=body))
        at = match.end()
    typed += text[at:]
    value = "" if things else _value_in(typed[:_LONGEST_VALUE])
    if value:
        return typed.replace(value, "", 1).strip(), (Attachment(language="value", body=value),)
    return typed.strip(), tuple(things)


def _value_in(text: str) -> str:
    """Return the dict or list literal in a sentence; "" if there is none."""
    begins = [at for at in (text.find("["), text.find("{")) if at >= 0]
    value = text[min(begins, default=len(text)) : max(text.rfind("]"), text.rfind("}")) + 1]
    found = _literal(value)
    return value if isinstance(found, dict | list) and found else ""


def _with_label(label: str, body: str, otherwise: str) -> tuple[Attachment, ...]:
    found = split_prompt(body)[1][:1] or (Attachment(language=otherwise, body=body.strip("\n")),)
    return tuple(dataclasses.replace(each, label=label) for each in found)


def read_attachment(text: str) -> tuple[Attachment, ...] | None:
    """Return the attachments in a text block before the question; None if the block is part of the question."""
    match = re.fullmatch(r"([^\n]+):(?:\n(.*))?", text, re.DOTALL)
    if match is None:
        return None
    label, body = match[1], match[2] or ""
    return split_prompt(text)[1] if label == "Cells of my notebook" else _with_label(label, body, "block")


def describe_attachments(sent: Sequence[Attachment]) -> str | None:
    """Describe the attachments; None if there are none."""
    between = "\n  - " if len(sent) == 1 else "; "
    described = [(each.label, between.join(_describe(each))) for each in sent[:_MOST]]
    lines = [f"- {label}: {line}" if label else f"- {line}" for label, line in described if line]
    return "\n".join(("This is what reached me:\n", *lines, "", _DISCLAIMER)) if lines else None


def _describe(attachment: Attachment) -> Iterator[str]:
    """Yield short statements about an attachment."""
    language, body, lines = attachment.language, attachment.body, attachment.body.strip().split("\n")
    ending = attachment.label.rpartition(".")[2]
    if attachment.label == "The error" or attachment.label.startswith("Output of"):
        yield f"{_count_of(len(lines), 'line')}, the last is `{_cut(lines[-1])}`"
    elif language == "table":
        yield from _describe_table(body)
    elif {"csv", "tsv"} & {language, ending}:
        yield from _describe_csv(lines, "\t" if "tsv" in (language, ending) else ",")
    elif language in ("value", "json"):
        yield _describe_value(body)
    elif language in ("python", "py", "") and (code := _parse(body)) is not None:
        yield f"{_count_of(len(lines), 'line')} of Python"
        with contextlib.suppress(RecursionError):
            yield from list(_describe_code(code))
    elif language == "media":
        yield body
    elif body:
        yield f"{_count_of(len(lines), 'line')}, {_count_of(len(body.split()), 'word')}, beginning with “{_cut(lines[0])}”"


_HEAD = re.compile(r"(.+?): ([\d,]+) (?:rows × ([\d,]+) columns|values)")
_COLUMN = re.compile(r"^- (.+?): \S+?(?:\[[^\]]*\])?(?:, ([\d,]+) missing)?$", re.MULTILINE)
_RANGE = re.compile(r"^(\S.*?) +\S+ +(\S+) +\S+ +(\S+) +\S+ +(\S+) +\S+ +(\S+)$", re.MULTILINE)
_COMMON = re.compile(r"^(.+?): ([\d,]+) distinct; most common: (.+ \([\d,]+×\))$", re.MULTILINE)
_TIMES = re.compile(r"(?:, )?(.+?) \(([\d,]+)×\)")
_FIRST_ROWS = re.compile(r"^(?:All|First) rows:$", re.MULTILINE)
_ROWS = re.compile(r"^(?:All|First) rows:\n(.*(?:\n\S* *)?)\n(.+)$", re.MULTILINE)


def _describe_table(body: str) -> Iterator[str]:
    head = _HEAD.match(body)
    if head is None:
        yield body.partition("\n")[0]
        return
    # Rows may look like statistics, so they are cut off first.
    facts = _FIRST_ROWS.split(body, maxsplit=1)[0]
    columns = _COLUMN.findall(facts)
    size = f"**{head[2]} rows** and **{head[3]} columns**: {_names(name for name, _ in columns)}"
    yield f"{head[1]} of {size if head[3] else f'{head[2]} values'}"
    for name, *numbers in _RANGE.findall(facts)[:_MOST]:
        mean, least, median, most = numbers
        if all(re.match(r"-?[\d.]", number) for number in numbers):
            yield f"`{name}` runs from {least} to **{most}**, its mean is {mean}, its median {median}"
    missing = {name: _number(count) for name, count in columns if count}
    for name, distinct, common in _COMMON.findall(facts)[:_MOST]:
        values = [(value, _number(times)) for value, times in _TIMES.findall(common)]
        is_all = len(values) == _number(distinct)
        of_all = sum(times for _, times in values) if is_all else _number(head[2]) - missing.get(name, 0)
        if often := _describe_common(values, of_all):
            yield f"`{name}` is {often}"
    yield from (f"`{name}` lacks {_count_of(count, 'value')}" for name, count in missing.items())
    if rows := _ROWS.search(body):
        yield f"the first row is `{' '.join(rows[2].split())}`"


def _describe_common(values: Sequence[tuple[str, int]], of_all: int) -> str:
    """Describe the values that occur most often, from a list in this order; "" if more than two do."""
    first, second, third = (*(times for _, times in values), 0, 0)[:3]
    (value, _), (other, _) = (*values, ("", 0))[:2]
    if 2 * first > of_all > 1:
        return f"mostly {value} ({first} times)"
    if first in (1, third):
        return ""
    runner_up = f" or {other} ({second} times)" if second not in (0, 1, third) else ""
    return f"most often {value} ({first} times){runner_up}"


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def _describe_csv(lines: Sequence[str], delimiter: str) -> Iterator[str]:
    try:
        read = [row for row in csv.reader(lines, delimiter=delimiter) if row and not row[0].startswith("[… ")]
    except csv.Error as error:
        yield f"{_count_of(len(lines), 'line')}, which cannot be read as a table: {error}"
        return
    names, *rows = read or [[]]
    yield f"**{_count_of(len(rows), 'row')}** and **{_count_of(len(names), 'column')}**: {_names(names)}"
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


def _describe_value(body: str) -> str:
    value = _literal(body)
    if isinstance(value, dict):
        return f"a dict of {len(value)} {'entry' if len(value) == 1 else 'entries'}: {_names(value)}"
    if isinstance(value, list) and value:
        return f"a list of {_count_of(len(value), 'value')}, the first is `{_cut(value[0])}`"
    return f"`{_cut(body)}`"


def _parse(source: str) -> ast.Module | None:
    """Parse Python code without its magics; None if it is not Python or empty."""
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        tree = ast.parse(re.sub(r"^\s*[%!].*", "", source, flags=re.MULTILINE))
        return tree if tree.body else None
    return None


def _describe_code(tree: ast.Module) -> Iterator[str]:
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


def _count_of(count: int, what: str) -> str:
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
    """Return the meaning of each exception and the advice for it."""
    parts = [part.strip().split("\n\n") for part in read_corpus("errors.txt").split("## ") if part]
    return {name: (meaning, advice) for name, meaning, advice in parts}


def explain_error(sent: Sequence[Attachment]) -> str | None:
    """Explain the error among the attachments; None if there is none."""
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


def _nearest(error: str, message: str, sent: Sequence[Attachment]) -> tuple[str, str | None]:
    """Return the name that was not found, and the closest name in the attachments or None."""
    offered = re.search(r"'(\w+)'[^']*Did you mean: '(.+?)'", message)
    if offered is not None:
        return offered[1], offered[2]
    wrong = message.strip().strip("'\"") if error == "KeyError" else ""
    known = [match["quoted"] or match["plain"] for each in sent for match in _KEY.finditer(each.body)]
    close = get_close_matches(wrong, [name for name in known if name != wrong], n=1) if wrong else []
    return wrong, close[0] if close else None


def _correct(cell: str, error: str, wrong: str, nearest: str | None) -> str:
    """Return the cell with the nearest name instead of the wrong one, else with the error handled."""
    written = re.compile(rf"\b{re.escape(wrong)}\b")
    if nearest is not None and written.search(cell):
        return f"With that name:\n\n```python\n{written.sub(lambda _: nearest, cell).strip()}\n```"
    if _parse(cell) is None or re.search(r"^\s*[%!]", cell, re.MULTILINE):
        return ""
    handled = f'try:\n{textwrap.indent(cell.strip(), "    ")}\nexcept {error} as error:\n    print(f"{error}: {{error}}")'
    return f"This cell handles the error; what to do instead is yours to say:\n\n```python\n{handled}\n```"
