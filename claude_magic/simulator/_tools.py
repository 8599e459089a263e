"""When to call a tool, with what, and what to say about its result."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from ._exchange import JSON
from ._ids import new_id
from ._instances import make_instance

_WORD = re.compile(r"[a-z]{4,}")
_COMMON = frozenset(
    _WORD.findall(
        """
        about also been call calls from function given have into more must name need only other over please
        result return returns should some such that their them then there this tool tools used user uses using
        value values want what when where which will with would your
        """
    )
)
MAX_TABLE_ROWS = 20


def choose_tools(prompt: str, tools: Sequence[JSON], choice: JSON | None) -> list[JSON]:
    """The tools that the answer calls.

    A forced choice is obeyed. Otherwise a tool is called when the prompt names it, or shares a word with its
    name or at least two with its description.
    """
    custom = [tool for tool in tools if "input_schema" in tool]
    kind = (choice or {}).get("type", "auto")
    if kind == "none" or not custom:
        return []
    if kind == "tool":
        return [tool for tool in custom if tool["name"] == (choice or {})["name"]]
    ranked = sorted(custom, key=lambda tool: -_fitness(prompt, tool))
    fitting = [tool for tool in ranked if _fitness(prompt, tool) >= 2]
    if kind == "any" and not fitting:
        fitting = ranked[:1]
    named = [tool for tool in fitting if tool["name"].lower() in prompt.lower()]
    is_single = (choice or {}).get("disable_parallel_tool_use") or not named
    return fitting[:1] if is_single else named


def _fitness(prompt: str, tool: JSON) -> int:
    lowered = prompt.lower()
    if re.search(rf"\b{re.escape(tool['name'].lower())}\b", lowered):
        return 100
    asked = _stems(lowered)
    of_name = _stems(tool["name"].lower().replace("_", " ").replace("-", " "))
    of_description = _stems(str(tool.get("description", "")).lower())
    return 2 * len(asked & of_name) + len(asked & (of_description - of_name))


def _stems(text: str) -> set[str]:
    return {word.removesuffix("s") for word in _WORD.findall(text) if word not in _COMMON}


def call_block(tool: JSON, prompt: str) -> JSON:
    """A `tool_use` block with arguments that satisfy the tool's schema."""
    schema = {"type": "object", **tool["input_schema"]}
    properties = {
        name: part
        for name, part in (schema.get("properties") or {}).items()
        if name in schema.get("required", ()) or _is_spoken_of(name, part, prompt)
    }
    arguments = make_instance({**schema, "properties": properties}, prompt)
    return {"type": "tool_use", "id": new_id("toolu"), "name": tool["name"], "input": arguments}


def _is_spoken_of(name: str, schema: JSON, prompt: str) -> bool:
    """Whether a prompt speaks of an argument that may be left out: of it, or of one of its values."""
    words = [name, *map(str, schema.get("enum") or ())]
    is_said = any(re.search(rf"\b{re.escape(word)}\b", prompt, re.IGNORECASE) for word in words)
    return is_said or bool(_stems(name.lower().replace("_", " ")) & _stems(prompt.lower()))


def describe_results(results: Sequence[JSON], calls: Sequence[JSON]) -> str:
    """An answer that uses the tools' results."""
    name_of_id = {call["id"]: call["name"] for call in calls}
    return "\n\n".join(_describe(result, name_of_id.get(result["tool_use_id"], "tool")) for result in results)


def _describe(result: JSON, name: str) -> str:
    text = _text_of_result(result).strip()
    if result.get("is_error"):
        return f"`{name}` failed:\n\n> {text or 'no message'}\n\nPlease correct the call, or ask without it."
    if not text:
        return f"`{name}` has finished and returned nothing."
    try:
        value = json.loads(text)
    except ValueError:
        return f"According to `{name}`: {text}" if "\n" not in text else f"`{name}` returned:\n\n{text}"
    return _describe_value(name, value)


def _describe_value(name: str, value: Any) -> str:
    if isinstance(value, dict) and value:
        rows = [f"- **{key}**: {_plain(part)}" for key, part in value.items()]
        return f"According to `{name}`:\n\n" + "\n".join(rows)
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return f"`{name}` returned {len(value)} rows:\n\n{_table(value)}"
    if isinstance(value, list) and value:
        return f"`{name}` returned:\n\n" + "\n".join(
            f"{n}. {_plain(part)}" for n, part in enumerate(value, 1)
        )
    return f"According to `{name}`, the result is **{_plain(value)}**."


def _table(rows: Sequence[JSON]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows[:MAX_TABLE_ROWS]:
        lines.append("| " + " | ".join(_plain(row.get(column, "")) for column in columns) + " |")
    if len(rows) > MAX_TABLE_ROWS:
        lines.append(f"\n… and {len(rows) - MAX_TABLE_ROWS} more.")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("|", "\\|").replace("\n", " ")


def _text_of_result(result: JSON) -> str:
    content = result.get("content", "")
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", f"[{part['type']}]") for part in content)
