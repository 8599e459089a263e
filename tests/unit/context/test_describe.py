"""Descriptions of other objects, and of types with their own describer."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import linecache
import re
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest.mock import MagicMock, Mock

import numpy as np
import pandas as pd
import pydantic
import pytest

from claude_magic.context import Collected, describe, register
from claude_magic.context import _describe as describing


class Point(NamedTuple):
    x: int
    y: int


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Account:
    name: str
    password: str = dataclasses.field(default="hunter22", repr=False)
    other: Any = None


class Model(pydantic.BaseModel):
    name: str = "Ann"
    token: pydantic.SecretStr = pydantic.SecretStr("hunter22")
    hidden: str = pydantic.Field(default="hunter22", repr=False)


class Bare:
    def __init__(self) -> None:
        self.size = 3
        self._cache = "private"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True]}, "{'a': [1, 2.5, None, True]}"),
        ((1,), "(1)"),
        ([], "[]"),
        (set(), "set()"),
        (frozenset({1}), "frozenset({1})"),
        (collections.Counter("aab"), "Counter({'a': 2, 'b': 1})"),
        (collections.deque([1, 2]), "deque([1, 2])"),
        (Point(1, 2), "Point(x=1, y=2)"),
        (Account("Ann"), "Account(name='Ann', other=None)"),
        (Model(), "Model(name='Ann', token=SecretStr('**********'))"),
        (Bare(), "Bare(size=3)"),
        (Color.RED, "<Color.RED: 1>"),
        ([np.float64(1.5), np.int64(2)], "[1.5, 2]"),
        ([np.eye(2)], "\n[\n  array([[1., 0.],\n       [0., 1.]])\n]\n"),
        (range(10**9), "range(0, 1000000000)"),
        ({1: 2}.keys(), "dict_keys({1})"),
        (ValueError("boom"), "ValueError: boom"),
        (b"abc", "b'abc'"),
        (bytearray(b"abc"), "b'abc'"),
        (..., "Ellipsis"),
    ],
)
def test_data_is_shown_in_python_notation(value: object, text: str) -> None:
    """On one line if it is short, and without fields that are excluded from the repr."""
    assert describe(value) == Collected(parts=(text,))


def test_long_data_is_laid_out_in_lines() -> None:
    """Nested containers are indented; short items share a line."""
    text = describe({"numbers": [100] * 25, "people": [{"name": "Ann " * 9, "of": "Oslo " * 9}]}).text

    assert text.splitlines() == [
        "",
        "{",
        "  'numbers': [",
        f"    {', '.join(['100'] * 20)},",
        f"    {', '.join(['100'] * 5)}",
        "  ],",
        "  'people': [",
        "    {",
        f"      'name': '{'Ann ' * 9}',",
        f"      'of': '{'Oslo ' * 9}'",
        "    }",
        "  ]",
        "}",
    ]


def _nested() -> list[Any]:
    nested: list[Any] = []
    for _ in range(5_000):
        nested = [nested]
    return nested


def _doubling() -> list[Any]:
    doubling: list[Any] = []
    for _ in range(60):
        doubling = [doubling, doubling]
    return doubling


@pytest.mark.parametrize(
    "value",
    [
        _nested(),
        _doubling(),
        [[[list(range(1_000))] * 1_000] * 1_000] * 1_000,
        dict.fromkeys(range(10000), "text " * 1000),
        ["x" * 10_000_000] * 100,
        "word " * 1_000_000,
        b"\0" * 10_000_000,
        np.array(["x" * 10_000] * 1_000),
        {"x" * 10_000_000: 1},
        Exception("x" * 1_000_000),
        type("Big", (), {"__repr__": lambda self: "x" * 1_000_000})(),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("max_tokens", [200, 4_000])
def test_every_description_is_bounded(value: object, max_tokens: int) -> None:
    """However deep or long the object is."""
    assert len(describe(value, max_tokens=max_tokens).text) <= 3.5 * max_tokens + 200


def test_an_informative_repr_is_sent_in_full() -> None:
    """Like those of estimators and of tables of other libraries; inside a container it is short."""
    thing = type("Summary", (), {"__repr__": lambda self: "coefficient " * 500})()

    assert describe(thing).text == repr(thing)
    assert len(describe([thing]).text) < 600


def test_a_cut_is_reported_in_the_text_and_in_a_note() -> None:
    """With its size; the end of a text is kept."""
    collected = describe("word " * 10_000 + "END")

    assert "[… 36,004 characters left out …]" in collected.text
    assert collected.text.endswith("END")
    assert collected.notes == ("36,004 of 50,003 characters of a text were left out.",)


def test_recursive_data_is_described_once() -> None:
    """Cycles are not followed."""
    loop: list[Any] = [1]
    loop.append({"again": loop})
    account = Account("Ann")
    account.other = account

    assert describe(loop).text == "[1, {'again': <itself again>}]"
    assert describe(account).text == "Account(name='Ann', other=<itself again>)"


def _raising(*names: str) -> Any:
    def fail(self: object, *arguments: object) -> Any:
        raise ValueError("no")

    return type("Hostile", (), dict.fromkeys(names, fail))()


def _hostile(**methods: Any) -> Any:
    return type("Hostile", methods.pop("bases", ()), methods)()


# Created inside the test, because even pytest cannot inspect all of them.
HOSTILE = {
    "no repr": lambda: _raising("__repr__"),
    "no text and no attributes": lambda: _raising("__repr__", "__str__", "__getattr__"),
    "not even a class": lambda: _raising("__getattribute__"),
    "a hook that fails": lambda: _raising("_repr_claude_"),
    "a hook of another type": lambda: _hostile(_repr_claude_=lambda self: 5),
    "a repr of another type": lambda: _hostile(__repr__=lambda self: 5),
    "an endless repr": lambda: _hostile(__repr__=lambda self: repr(self)),
    "a dict without items": lambda: _hostile(bases=(dict,), items=lambda self: 1 / 0),
    "a text that lies": lambda: _hostile(bases=(str,), __str__=lambda self: 5, __len__=lambda self: -1),
    "a mock": MagicMock,
    "a mock of a frame": lambda: Mock(spec=pd.DataFrame),
    "a mock of a dict": lambda: Mock(spec=dict),
    "a number of too many digits": lambda: 10**6000,
    "in a list": lambda: [_raising("__repr__")],
    "as a key": lambda: {_raising("__repr__"): 1},
    "in an array": lambda: np.array([_raising("__repr__", "__str__"), None], dtype=object),
    "of a hostile metaclass": lambda: type("Meta", (type,), {"__getattr__": lambda kind, name: 1 / 0})(
        "Odd", (), {}
    ),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_object_can_stop_the_prompt(make: Callable[[], object]) -> None:
    """If the description fails, the shortened repr is sent."""
    assert len(describe(make(), name="it").text) < 400


def test_a_failed_description_is_noted() -> None:
    """With the reason, so that its author can fix it."""
    collected = describe(_raising("_repr_claude_"), name="thing")

    assert collected.notes == ("{{ thing }} could not be described (ValueError: no), so its repr is sent.",)


@pytest.mark.parametrize(
    ("made", "parts"),
    [
        ("my text", ("my text",)),
        ({"type": "text", "text": "block"}, ({"type": "text", "text": "block"},)),
        (
            Collected(parts=("a", {"type": "text", "text": "b"}), notes=("n",)),
            ("a", {"type": "text", "text": "b"}),
        ),
    ],
)
def test_an_object_can_describe_itself(made: object, parts: tuple[object, ...]) -> None:
    """With `_repr_claude_`, which returns text, a content block or a `Collected`."""
    thing = type("Thing", (), {"_repr_claude_": lambda self: made})()

    assert describe(thing).parts == parts


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "_registered", {})


@pytest.mark.usefixtures("registry")
def test_describers_can_be_registered() -> None:
    """By type or by name, without an import; for subclasses too, and before `_repr_claude_`."""

    class Base:
        def _repr_claude_(self) -> str:
            return "by method"

    class Derived(Base):
        pass

    before = describe(Derived()).text
    register(Base, lambda value, chars: f"by type, in {chars}")
    register("collections.OrderedDict", lambda value, chars: "by name")

    assert before == "by method"
    assert describe(Derived(), max_tokens=1_000).text == "by type, in 3500"
    assert describe(collections.OrderedDict()).text == "by name"
    assert describe({}).text == "{}"


def test_secrets_inside_objects_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also at a cut; a string that the user names is sent as it is."""
    secret = "correct-horse-" * 10
    monkeypatch.setenv("VAULT_PASSWORD", secret)
    label = "environment variable VAULT_PASSWORD"

    inside = describe({"key": secret})
    cut = describe(["x" * 450 + secret + "x" * 9_000])
    by_hook = describe(type("Thing", (), {"_repr_claude_": lambda self: secret})())
    plain = describe(secret)

    assert "'key': '[REDACTED]'" in inside.text
    assert "correct-horse" not in cut.text + by_hook.text
    assert inside.redacted == cut.redacted == by_hook.redacted == (label,)
    assert plain == Collected(parts=(secret,))


def test_a_function_is_described_by_its_source() -> None:
    """In a code block."""
    text = describe(test_recursive_data_is_described_once).text

    assert text.startswith("\n```python\ndef test_recursive_data_is_described_once() -> None:\n")
    assert text.endswith("\n```\n")


def test_a_class_defined_in_a_cell_is_described_by_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python itself finds no file for it."""
    source = "import dataclasses\n\n@dataclasses.dataclass\nclass Boat:\n    name: str\n\n    def row(self):\n        return 1\n"
    monkeypatch.setitem(linecache.cache, "<cell 1>", (len(source), None, source.splitlines(True), "<cell 1>"))
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec(compile(source, "<cell 1>", "exec"), main.__dict__)

    text = describe(main.Boat).text

    assert text == (
        "\n```python\n@dataclasses.dataclass\nclass Boat:\n    name: str\n\n    def row(self):\n        return 1\n```\n"
    )


def test_code_without_source_is_described_by_signature_and_docstring() -> None:
    """C code; a package or a module that is too long, by its members."""
    builtin, package, module = describe(len).text, describe(pd).text, describe(re).text

    assert builtin == "function len(obj, /)\nReturn the number of items in a container."
    assert package.startswith(f"module pandas {pd.__version__}\n")
    assert "def match(pattern, string, flags=0)" in module
    assert "class" in describe(functools.partial).text


def test_long_code_is_cut_too() -> None:
    """The fence is closed after the cut."""
    collected = describe(pd.DataFrame)

    assert len(collected.text) < 15_000
    assert collected.text.endswith("\n```\n")
    assert len(collected.notes) == 1


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.eye(2), "Array: 2 × 2, float64\narray([[1., 0.],\n       [0., 1.]])"),
        (np.array(5), "Array: scalar, int64\narray(5)"),
        (np.array([]), "Array: 0, float64"),
        (np.arange(1_000), "min 0, max 999, mean 499.5"),
        (np.where(np.arange(1_000) % 2, np.nan, 1.0), "min 1, max 1, mean 1, 500 NaN"),
        (np.full(300, np.nan), "all values are NaN"),
        (np.ma.masked_array(np.arange(300), mask=np.arange(300) % 2), "min 0, max 298"),
        (np.array(["2026-01-02"] * 300, dtype="M8[D]"), "first values: 2026-01-02, "),
        (np.array([None, "x"], dtype=object), "first values: None, x"),
        (np.zeros(300, dtype=[("a", "i4")]), "first values: (0,), "),
        (np.zeros(300, dtype=complex), "complex128"),
        (np.array([True] * 300), "Array: 300, bool"),
    ],
)
def test_arrays_are_described_by_shape_type_and_statistics(array: Any, expected: str) -> None:
    """Small ones in full."""
    collected = describe(array)

    assert expected in collected.text
    assert collected.notes == ()


def test_a_big_array_is_sampled_and_not_copied() -> None:
    """Not even if it is not contiguous."""
    array = np.zeros((4_000, 3_000)).T[::2]

    collected = describe(array)

    assert "Array: 1,500 × 4,000, float64" in collected.text
    assert "(in the sample)" in collected.text
    assert collected.notes == ("Statistics of an array are from one in 6 of its 6,000,000 values.",)
