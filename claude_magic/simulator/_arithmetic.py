"""Arithmetic in a prompt, evaluated without `eval`."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping

MAX_POWER_BITS = 4096
"""Larger results are refused: they would keep everybody waiting."""

_ASKED = re.compile(
    r"\b(what(?:'s| is)|calculate|compute|evaluate|solve|how much is|work out)\b|=\s*\??\s*$", re.IGNORECASE
)
_EXPRESSION = re.compile(r"(?:sqrt\s*)?[(\-]*\s*\d[\d\s().,+\-*/^%]*(?:sqrt[\d\s().,+\-*/^%]*)*")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_WORDS = (
    (r"\bto the power of\b", "**"),
    (r"\bplus\b", "+"),
    (r"\bminus\b", "-"),
    (r"(?<=\d)\s*x\s*(?=\d)|\btimes\b|\bmultiplied by\b", "*"),
    (r"\bdivided by\b|\bover\b", "/"),
    (r"\bsquared\b", "**2"),
    (r"\bcubed\b", "**3"),
    (r"(\d+(?:\.\d+)?)\s*(?:%|percent) of\b", r"\1/100*"),
    (r"\b(?:the )?square root of\b", "sqrt "),
    (r"\^", "**"),
    (r"(?<=\d),(?=\d{3}\b)", ""),
)
_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def answer_arithmetic(prompt: str) -> str | None:
    """The result of the calculation that a prompt asks for; None where it asks for none."""
    text = prompt.strip()
    for pattern, symbol in _WORDS:
        text = re.sub(pattern, symbol, text, flags=re.IGNORECASE)
    is_bare = re.fullmatch(r"[\d\s().,+\-*/%=?sqrt]+", text) is not None
    if not (is_bare or _ASKED.search(prompt)) or _DATE.search(prompt):
        return None
    found = max(_EXPRESSION.findall(text), key=len, default="").strip(" .,=?")
    if not re.search(r"\d\s*[-+*/%]+\s*[\d(s]|sqrt", found):
        return None
    try:
        value = _evaluate(re.sub(r"sqrt\s*\(?\s*(\d+(?:\.\d+)?)\)?", r"(\1)**0.5", found))
    except ZeroDivisionError:
        return f"`{found}` divides by zero, which has no result."
    except (SyntaxError, ValueError, OverflowError):
        return None
    return f"{_pretty(found)} = **{_number(value)}**"


def _evaluate(expression: str) -> float:
    return _value(ast.parse(expression, mode="eval").body)


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _value(node.operand)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        if type(node.op) in _BINARY:
            return _BINARY[type(node.op)](left, right)
    raise ValueError("not arithmetic")


def _power(base: float, exponent: float) -> float:
    if abs(base) > 1 and math.log2(abs(base)) * exponent > MAX_POWER_BITS:
        raise OverflowError("too large")
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError("not real")
    return float(result) if isinstance(result, float) else int(result)


def _number(value: float) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.10g}"


def _pretty(expression: str) -> str:
    text = re.sub(r"\s*\*\*\s*", "^", expression)
    text = re.sub(r"\s*([+*/%]|(?<=[\d)])\s*-)\s*", lambda match: f" {match.group(1).strip()} ", text)
    return "`" + " ".join(text.split()) + "`"
