"""Saying something about a table that stands in a prompt as a description of its columns and their statistics."""

from __future__ import annotations

import re

_HEAD = re.compile(r"(?:DataFrame|Table)(?: \(\w+\))?: ([\d,]+) rows × ([\d,]+) columns")
_COLUMN = re.compile(r"^- (.+?): (\w+(?:\[[^\]]*\])?)(?:, ([\d,]+) missing)?", re.MULTILINE)
_NUMBERS = re.compile(r"^(\S.*?)\s+\S+((?:\s+-?[\d.e+]+){7})\s*$", re.MULTILINE)
_COMMON = re.compile(r"^(.+?): [\d,]+ distinct; most common: (.+?) \(([\d,]+)×\)", re.MULTILINE)
_MAX_LINES = 8


def read_table(prompt: str) -> str | None:
    """What a described table holds, as far as the description tells; None where there is none."""
    head = _HEAD.search(prompt)
    if head is None:
        return None
    described = prompt[head.start() :]
    columns = _COLUMN.findall(described)
    lines = [
        f"The table has **{head[1]} rows** and **{head[2]} columns**: {_listed([name for name, *_ in columns])}."
    ]
    facts = [
        *(_say_numbers(name, *figures.split()) for name, figures in _NUMBERS.findall(described)),
        *(f"`{name}`: mostly {value} ({count} times)" for name, value, count in _COMMON.findall(described)),
        *(f"`{name}` lacks {missing} values" for name, _, missing in columns if missing),
    ]
    if facts:
        lines.append("\n".join(f"- {fact}" for fact in facts[:_MAX_LINES]))
    return "\n\n".join(lines)


def _say_numbers(
    name: str, mean: str, _deviation: str, least: str, _q1: str, median: str, _q3: str, most: str
) -> str:
    return f"`{name}` runs from {least} to **{most}**; its mean is {mean}, its median {median}"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
