"""Explaining code and tracebacks that stand in a prompt, as far as their structure tells."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ._corpus_small import EXPLANATIONS_OF_ERRORS

MAX_STATEMENTS = 12
_FENCE = re.compile(r"```[\w+-]*\n(.*?)(?:```|\Z)", re.DOTALL)
_LAST_LINE = re.compile(
    r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Interrupt|Warning|Exit))(?:: ?(.*))?$", re.MULTILINE
)
_PLACE = re.compile(r'(?:File "([^"]+)"|(Cell In\[\d+\])), line (\d+)(?:, in (\S+))?')
_ASKS = re.compile(
    r"\b(explain|what does|describe|walk me through|understand|review|comment)\b", re.IGNORECASE
)


def explain_traceback(prompt: str) -> str | None:
    """What an error in the prompt means and what to do; None where there is none."""
    found = _LAST_LINE.findall(prompt)
    if not found or ("Traceback" not in prompt and not _PLACE.search(prompt) and len(found[-1][1]) == 0):
        return None
    name, message = found[-1]
    meaning, advice = EXPLANATIONS_OF_ERRORS.get(
        name,
        ("the code raised an error of its own kind", "Read its message first, then the line it points at."),
    )
    parts = [f"## {name}", f"**What it means**: {meaning}."]
    if message:
        parts.append(f"**What it says**: `{message.strip()}`")
    places = _PLACE.findall(prompt)
    if places:
        parts.append(f"**Where**: {_place(places[-1])}. The lines above it tell how the program got there.")
    parts.append(f"**What to do**: {advice}")
    if "corrected cell" in prompt and (corrected := _handle(prompt, name)):
        parts.append(f"This cell handles the error; what to do instead is yours to say:\n\n{corrected}")
    return "\n\n".join(parts)


def _handle(prompt: str, error: str) -> str | None:
    """The code of the prompt, with the error handled; None where there is no code that can be read."""
    fenced = _FENCE.search(prompt)
    if fenced is None:
        return None
    try:
        body = ast.parse(fenced[1]).body
    except (SyntaxError, ValueError):
        return None
    source = "\n".join(f"    {line}" for line in ast.unparse(ast.Module(body, [])).splitlines())
    return f'```python\ntry:\n{source}\nexcept {error} as error:\n    print(f"{error}: {{error}}")\n```'


def _place(place: tuple[str, str, str, str]) -> str:
    path, cell, line, function = place
    inside = f", in `{function}`" if function and function != "<module>" else ""
    return f"line {line} of `{path or cell}`{inside}"


def explain_code(prompt: str) -> str | None:
    """What Python code in the prompt does, statement by statement; None where there is none to explain."""
    fenced = _FENCE.search(prompt)
    if not _ASKS.search(_FENCE.sub("", prompt)):
        return None
    source = fenced.group(1) if fenced else _indented_tail(prompt)
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    if not tree.body or (not fenced and all(isinstance(node, ast.Expr) for node in tree.body)):
        return None
    lines = [f"{n}. {_describe(node)}" for n, node in enumerate(tree.body[:MAX_STATEMENTS], 1)]
    if len(tree.body) > MAX_STATEMENTS:
        lines.append(f"\n... and {len(tree.body) - MAX_STATEMENTS} more statements.")
    head = f"The code has {len(source.strip().splitlines())} lines. In order:"
    return "\n\n".join(part for part in (head, "\n".join(lines), _notes(tree)) if part)


def _indented_tail(prompt: str) -> str:
    """What follows the first line, which is then the question."""
    return prompt.partition("\n")[2]


def _describe(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return _describe_function(node)
    if isinstance(node, ast.ClassDef):
        methods = [f"`{part.name}`" for part in node.body if isinstance(part, ast.FunctionDef)]
        having = f" with the methods {', '.join(methods)}" if methods else ""
        return f"defines the class `{node.name}`{having}"
    if isinstance(node, ast.Import | ast.ImportFrom):
        return f"imports {', '.join(f'`{name.name}`' for name in node.names)}"
    if isinstance(node, ast.For):
        return f"goes through `{ast.unparse(node.iter)}`, calling each item `{ast.unparse(node.target)}`"
    if isinstance(node, ast.While):
        return f"repeats as long as `{ast.unparse(node.test)}` holds"
    if isinstance(node, ast.If):
        return f"decides by `{ast.unparse(node.test)}`" + (", with an alternative" if node.orelse else "")
    if isinstance(node, ast.Assign):
        names = ", ".join(f"`{ast.unparse(target)}`" for target in node.targets)
        return f"sets {names} to `{_short(node.value)}`"
    if isinstance(node, ast.With):
        return f"opens `{_short(node.items[0].context_expr)}` and closes it at the end"
    if isinstance(node, ast.Expr):
        return f"evaluates `{_short(node.value)}`"
    return f"runs `{_short(node)}`"


def _describe_function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = [f"`{argument.arg}`" for argument in node.args.args]
    taking = f" of {', '.join(arguments)}" if arguments else " without arguments"
    kind = "coroutine" if isinstance(node, ast.AsyncFunctionDef) else "function"
    documentation = (ast.get_docstring(node) or "").partition("\n")[0]
    saying = f" (“{documentation}”)" if documentation else ""
    returned = [_short(part.value) for part in ast.walk(node) if isinstance(part, ast.Return) and part.value]
    giving = f", which returns `{returned[-1]}`" if returned else ""
    return f"defines the {kind} `{node.name}`{taking}{saying}{giving}"


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _notes(tree: ast.Module) -> str:
    notes = [f"- {note}" for note in _remarks(tree)]
    return "**Worth a look**\n\n" + "\n".join(dict.fromkeys(notes)) if notes else ""


def _remarks(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield "a bare `except:` also catches Ctrl-C; name the exception"
        elif isinstance(node, ast.FunctionDef):
            yield from _remarks_on_function(node)
        elif isinstance(node, ast.Compare) and _is_equality_with_none(node):
            yield "compare with `None` by `is`"


def _remarks_on_function(node: ast.FunctionDef) -> Iterator[str]:
    if any(isinstance(default, ast.List | ast.Dict | ast.Set) for default in node.args.defaults):
        yield f"`{node.name}` has a changeable default, which all its calls share"
    calls = (part.func for part in ast.walk(node) if isinstance(part, ast.Call))
    if any(isinstance(called, ast.Name) and called.id == node.name for called in calls):
        yield f"`{node.name}` calls itself; make sure that this ends"


def _is_equality_with_none(node: ast.Compare) -> bool:
    has_none = any(isinstance(part, ast.Constant) and part.value is None for part in node.comparators)
    return has_none and any(isinstance(symbol, ast.Eq | ast.NotEq) for symbol in node.ops)
