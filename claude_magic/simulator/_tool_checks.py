"""Rules for `tools` and `tool_choice`."""

from __future__ import annotations

import re
from typing import Any

from . import _checks as check
from ._errors import invalid
from ._exchange import JSON
from ._models import Model

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_DATED = re.compile(
    r"(web_search|web_fetch|code_execution|tool_search_tool_(regex|bm25)|advisor|bash|text_editor|memory"
    r"|computer(_toolset)?|browser_toolset)_(?P<date>\d{8})\Z"
)
NEWEST_SERVER_TOOLS = ("web_search_20260318", "web_fetch_20260318", "code_execution_20260521")
CUSTOM_FIELDS = (
    "type",
    "name",
    "description",
    "input_schema",
    "strict",
    "cache_control",
    "input_examples",
    "defer_loading",
    "allowed_callers",
    "eager_input_streaming",
)


def check_tools(value: Any, model: Model) -> list[JSON]:
    """Every rule for `tools`; returns them."""
    tools = check.array(value, "tools")
    names: set[str] = set()
    for index, tool in enumerate(tools):
        name = _check_tool(check.dictionary(tool, f"tools.{index}"), f"tools.{index}", model)
        if name in names:
            raise invalid("tools: Tool names must be unique.")
        names.add(name)
    return tools


def _check_tool(tool: JSON, path: str, model: Model) -> str:
    kind = tool.get("type", "custom")
    if kind == "mcp_toolset":
        return f"mcp:{tool.get('mcp_server_name')}"
    if kind != "custom":
        if not isinstance(kind, str) or not _DATED.match(kind):
            raise invalid(
                f"{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
            )
        if kind in NEWEST_SERVER_TOOLS and not model.has_newest_server_tools:
            raise invalid(f"{path}: '{kind}' is not supported by {model.id}")
        return str(tool.get("name", kind))
    inner = f"{path}.custom"
    check.no_extras(tool, inner, CUSTOM_FIELDS)
    name = check.string(check.required(tool, "name", inner), f"{inner}.name")
    if not _NAME.match(name):
        raise invalid(f"{inner}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
    schema_path = f"{inner}.input_schema"
    schema = check.dictionary(check.required(tool, "input_schema", inner), schema_path)
    check.one_of(check.required(schema, "type", schema_path), f"{schema_path}.type", ["object"])
    return name


def check_tool_choice(value: Any, tools: list[JSON], model: Model, *, has_manual_thinking: bool) -> None:
    """Every rule for `tool_choice`."""
    choice = check.dictionary(value, "tool_choice")
    kinds = ("auto", "any", "tool", "none")
    kind = check.one_of(check.required(choice, "type", "tool_choice"), "tool_choice.type", kinds)
    known = {"none": ("type",), "tool": ("type", "name", "disable_parallel_tool_use")}
    check.no_extras(choice, f"tool_choice.{kind}", known.get(kind, ("type", "disable_parallel_tool_use")))
    if not tools and kind != "none":
        raise invalid("tool_choice: `tool_choice` may only be specified while providing `tools`.")
    if kind not in ("any", "tool"):
        return
    if not model.has_forced_tools:
        raise invalid(f"tool_choice: forced tool use (`{kind}`) is not supported by {model.id}. Use `auto`.")
    if has_manual_thinking:
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "tool":
        name = check.string(check.required(choice, "name", "tool_choice.tool"), "tool_choice.tool.name")
        if name not in {tool.get("name") for tool in tools}:
            raise invalid(f"Tool '{name}' not found in provided tools")
