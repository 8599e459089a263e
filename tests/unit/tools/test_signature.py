"""Functions as tools: their definitions, and how arguments reach them."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import enum
import functools
import json
import math
import pathlib
import typing
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NotRequired, Required, TypeVar, Unpack

import numpy as np
import pandas as pd
import pytest
import typing_extensions
from pydantic import BaseModel, Field, TypeAdapter

from claude_magic.client import ConfigurationError
from claude_magic.schema import portable
from claude_magic.tools import Toolbox
from claude_magic.tools._tool import BadArgumentsError, Tool


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Port(BaseModel):
    name: str
    depth: float = 3.0


@dataclasses.dataclass
class Boat:
    name: str


def schema(function: Any) -> dict[str, Any]:
    return dict(Tool(function).definition()["input_schema"])


def test_signature_and_docstring_make_the_schema() -> None:
    """Types, required arguments, defaults, and the descriptions of function and arguments."""

    def tide(port: str, day: int = 1, exact: bool = False) -> float:
        """Give the height of the tide.

        At high water, that is.

        Args:
            port: Where.
            day: Day of the month.

        Returns:
            Metres.
        """
        return 0.0

    definition = Tool(tide).definition()

    assert definition["name"] == "tide"
    assert definition["description"].startswith("Give the height of the tide.\n\nAt high water")
    assert definition["input_schema"] == {
        "type": "object",
        "properties": {
            "port": {"type": "string", "description": "Where."},
            "day": {"type": "integer", "default": 1, "description": "Day of the month."},
            "exact": {"type": "boolean", "default": False},
        },
        "required": ["port"],
        "additionalProperties": False,
    }


def test_types_of_all_kinds_are_described() -> None:
    """Literals, enums, optional types, dates, models, dataclasses, bounds."""

    def plan(
        kind: Literal["sail", "motor"],
        colour: Colour,
        port: Port,
        boat: Boat,
        when: datetime.date,
        crew: Annotated[int, Field(ge=1)],
        note: str | None = None,
        stops: list[str] = [],  # noqa: B006  users write this
    ) -> None: ...

    properties = schema(plan)["properties"]

    assert properties["kind"]["enum"] == ["sail", "motor"]
    assert properties["when"]["format"] == "date"
    assert properties["crew"]["minimum"] == 1
    assert properties["stops"]["items"] == {"type": "string"}
    assert schema(plan)["required"] == ["kind", "colour", "port", "boat", "when", "crew"]


def test_arguments_are_validated_and_converted() -> None:
    """A model sends JSON; the function gets its own types and defaults."""
    got: dict[str, Any] = {}

    def plan(colour: Colour, port: Port, boat: Boat, day: int = 4, **further: Any) -> None:
        got.update(colour=colour, port=port, boat=boat, day=day, further=further)

    Tool(plan).bind({"colour": "red", "port": {"name": "Brest"}, "boat": {"name": "Ada"}, "wind": 5})()

    assert got == {
        "colour": Colour.RED,
        "port": Port(name="Brest"),
        "boat": Boat("Ada"),
        "day": 4,
        "further": {"wind": 5},
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "port: Field required"),
        ({"port": 1}, "port: Input should be"),
        ({"port": "x", "y": 1}, "y: Extra"),
    ],
)
def test_invalid_arguments_are_named(arguments: dict[str, Any], says: str) -> None:
    """So that the model can correct them."""

    def tide(port: str) -> None: ...

    with pytest.raises(BadArgumentsError, match=says):
        Tool(tide).bind(arguments)


def test_callables_of_all_kinds_can_be_tools() -> None:
    """Methods, objects, partial functions, lambdas, positional-only arguments."""

    class Gauge:
        def read(self, x: int) -> int:
            return x + 1

        def __call__(self, x: int) -> int:
            return x + 2

    def add(x: int, y: int, /) -> int:
        return x + y

    assert Tool(Gauge().read).bind({"x": 1})() == 2
    assert Tool(Gauge()).bind({"x": 1})() == 3
    assert Tool(functools.partial(add, 5)).bind({"y": 1})() == 6
    assert Tool(add).bind({"x": 1, "y": 2})() == 3
    assert Tool(lambda x: x, name="same").bind({"x": [1]})() == [1]


def test_an_invalid_tool_is_an_error_with_the_reason() -> None:
    """Before anything is sent."""

    def many(*ports: str) -> None: ...

    with pytest.raises(ConfigurationError, match=r"\*arguments have none"):
        Tool(many)
    with pytest.raises(ConfigurationError, match="cannot be the name of a tool"):
        Tool(lambda: None)
    with pytest.raises(ConfigurationError, match="Two of the tools"):
        Toolbox([Gull().read, Gull().read])


class Gull:
    def read(self) -> str:
        return "sea"


def test_tools_are_found_by_the_names_of_the_notebook() -> None:
    """Also attributes; a typo gets a suggestion."""
    names = {"gull": Gull(), "tide_table": lambda port: port, "number": 5}

    assert Toolbox.named(["gull.read"], names).find("gull_read") is not None
    with pytest.raises(ConfigurationError, match="Did you mean tide_table"):
        Toolbox.named(["tide_tabel"], names)
    with pytest.raises(
        ConfigurationError,
        match=r"--tools number: number is an int, not a function\. Name a function\. Nothing",
    ):
        Toolbox.named(["number"], names)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (print, "tools takes a list of functions, as in tools=[f], not a builtin_function_or_method"),
        (3, "tools takes a list of functions, as in tools=[f], not an int"),
        ([3], "tools takes functions, and an int is not one"),
        (["tide_table"], "tools takes functions, and a str is not one"),
    ],
)
def test_other_values_than_lists_of_functions_are_refused(given: object, words: str) -> None:
    """A single function, or another object in the list."""
    with pytest.raises(ConfigurationError) as caught:
        Toolbox.of(given)

    assert caught.value.message == f"{words}. Nothing was sent."


def test_an_empty_list_of_functions_is_no_tools() -> None:
    """A computed list may be empty."""
    assert Toolbox.of([]) is None


def test_unresolvable_types_accept_any_argument() -> None:
    """A name may be imported for type checkers only."""

    def tide(port: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert schema(tide)["properties"] == {"port": {}}


def test_positional_arguments_keep_their_positions() -> None:
    """A missing one is not replaced by the next."""

    def add(x: int = 1, y: int = 2, /) -> tuple[int, int]:
        return x, y

    assert Tool(add).bind({"y": 9})() == (1, 9)


def test_an_unresolvable_type_does_not_affect_the_others() -> None:
    """Annotations are resolved one by one."""

    def tide(port: "str", when: "Nowhere", day: "int" = 1) -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    assert schema(tide)["properties"] == {
        "port": {"type": "string"},
        "when": {},
        "day": {"type": "integer", "default": 1},
    }


def test_an_argument_that_is_not_json_keeps_its_default_or_is_refused() -> None:
    """A model cannot pass a table, but it can call a function with optional axes."""
    got: list[Any] = []

    def draw(port: str, axes: pd.DataFrame | None = None, table: pd.DataFrame = pd.DataFrame()) -> None:  # noqa: B008
        got.append((port, axes))

    def weigh(table: pd.DataFrame) -> None: ...

    Tool(draw).bind({"port": "Brest"})()

    assert "table" not in schema(draw)["properties"]
    assert got == [("Brest", None)]
    with pytest.raises(ConfigurationError, match="argument table, which is of type DataFrame"):
        Tool(weigh)


def test_numpy_scalars_are_converted_from_json() -> None:
    """Their types occur in signatures of numerical code."""

    def scale(x: np.float64, n: np.int32) -> tuple[type, type]:
        return type(x), type(n)

    assert schema(scale)["properties"] == {"x": {"type": "number"}, "n": {"type": "integer"}}
    assert Tool(scale).bind({"x": 1.5, "n": 2})() == (np.float64, np.int32)


def test_defaults_that_are_secret_or_not_json_are_not_sent() -> None:
    """A NaN makes a request invalid; a default key must not leave the notebook."""

    def query(
        sql: str, limit: float = math.nan, key: str = "sk-ant-api03-abcdefghijklmnop", rows: int = 5
    ) -> None: ...

    definition = Tool(query).definition()

    assert "abcdefghijklmnop" not in json.dumps(definition, allow_nan=False)
    assert definition["input_schema"]["required"] == ["sql"]
    assert definition["input_schema"]["properties"]["rows"]["default"] == 5


def test_fields_of_pydantic_describe_arguments() -> None:
    """As annotations, and as defaults."""

    def tide(port: Annotated[str, Field(description="Where.")], day: int = Field(3, ge=1)) -> None: ...

    assert schema(tide)["properties"] == {
        "port": {"type": "string", "description": "Where."},
        "day": {"type": "integer", "default": 3, "minimum": 1},
    }


def test_classes_and_objects_are_described_by_their_methods() -> None:
    """`__init__` and `__call__` have the types, and often the docstring."""

    class Ship:
        """A ship."""

        def __init__(self, name: str) -> None:
            self.name = name

    class Gauge:
        def __call__(self, x: int) -> None:
            """Read the gauge.

            Args:
                x: Which one.
            """

    assert schema(Ship)["properties"] == {"name": {"type": "string"}}
    assert Tool(Ship).description == "A ship."
    assert Tool(Gauge()).description == "Read the gauge."
    assert schema(Gauge())["properties"] == {"x": {"type": "integer", "description": "Which one."}}
    assert Tool(Boat).description == ""


def test_numpy_docstrings_may_describe_several_arguments_at_once() -> None:
    def add(x: int, y: int) -> int:
        """Add.

        Parameters
        ----------
        x, y : int
            What to add.
        """
        return x + y

    assert {each["description"] for each in schema(add)["properties"].values()} == {"What to add."}


def test_a_decorated_function_has_the_signature_of_the_wrapped_one() -> None:
    """The wrapper itself has `*args, **kwargs`."""

    def tide(port: str, day: int = 1) -> str:
        return f"{port} {day}"

    @functools.wraps(tide)
    def logged(*args: Any, **kwargs: Any) -> str:
        return tide(*args, **kwargs)

    assert schema(logged)["required"] == ["port"]
    assert Tool(logged).bind({"port": "Brest", "day": "4"})() == "Brest 4"


def test_async_functions_are_recognised_through_wrappers() -> None:
    """They need no delay before they run, because they do not block the display."""

    async def wind() -> None: ...

    class Vane:
        async def __call__(self) -> None: ...

    assert Tool(wind).is_async
    assert Tool(Vane()).is_async
    assert Tool(functools.partial(wind), name="wind").is_async
    assert not Tool(Gull().read).is_async


def test_different_functions_of_the_same_name_are_refused() -> None:
    """The same function twice is harmless."""
    names = {"gull": Gull(), "gull_read": lambda: "land"}

    assert Toolbox.named(["gull.read", "gull.read"], names).names == ("gull_read",)
    with pytest.raises(ConfigurationError, match="would be called gull_read"):
        Toolbox.named(["gull.read", "gull_read"], names)


def test_a_typo_in_an_attribute_gets_a_suggestion_too() -> None:
    """The message names the missing part."""
    with pytest.raises(ConfigurationError, match="gull has no raed"):
        Toolbox.named(["gull.raed"], {"gull": Gull()})


def give(function: Any, **arguments: Any) -> Any:
    """Call a function like a model."""
    return Tool(function, name="given").bind(arguments)()


class Berth(typing.TypedDict):
    quay: str
    metres: NotRequired[float]


class Voyage(typing.TypedDict, total=False):
    port: Required[str]
    berths: list[Berth]
    length: Annotated[int, Field(ge=1)]


class Buoy(typing.TypedDict):
    name: str
    moored_to: list[Buoy]


class Mark(typing_extensions.TypedDict):
    name: typing_extensions.ReadOnly[str]


class Pair(typing.NamedTuple):
    berth: Berth
    count: int = 1


@dataclasses.dataclass
class Fleet:
    berths: list[Berth]
    name: str = "home"


Item = TypeVar("Item")


class Crate(typing.TypedDict, Generic[Item]):
    content: Item


@dataclasses.dataclass
class Option:
    """A declaration in place of a default, like `typer.Option`."""

    default: Any = ...
    default_factory: Any = None
    help: str | None = None


@dataclasses.dataclass
class Depends:
    """A marker for values that a framework fills in, like FastAPI's."""

    dependency: Callable[[], Any]


@pytest.mark.parametrize(
    ("declare", "value"),
    [
        (lambda: Field(3, description="How many."), 3),
        (lambda: Field(default_factory=list), []),
        (lambda: Field(Colour.RED), Colour.RED),
        (lambda: Field(None, ge=2), None),
        (lambda: Field(default_factory=lambda: Port(name="Brest")), Port(name="Brest")),
        (lambda: Option(3, help="How many."), 3),
        (lambda: Option(default_factory=list), []),
        (lambda: Option(Port(name="Brest")), Port(name="Brest")),
        (lambda: dataclasses.field(default=3), 3),
    ],
)
def test_a_declared_default_reaches_the_function_as_a_value(
    declare: Callable[[], Any], value: object
) -> None:
    """Not as the declaration, for any kind of argument; each call gets a new value."""

    def keyword(n: Any = declare(), *, other: Any = declare()) -> Any:  # noqa: B008
        return n, other

    def positional(n: Any = declare(), /, other: Any = declare()) -> Any:  # noqa: B008
        return n, other

    async def awaited(n: Any = declare()) -> Any:  # noqa: B008
        return n, n

    class Counter:
        def read(self, n: Any = declare()) -> Any:  # noqa: B008
            return n, n

        __call__ = read

    partial = functools.partial(keyword, other=value)

    for function in (keyword, positional, Counter().read, Counter(), partial):
        assert give(function) == (value, value)
    assert asyncio.run(give(awaited)) == (value, value)
    assert give(keyword, n=7) == (7, value)
    first = give(keyword)[0]
    assert not isinstance(first, list) or give(keyword)[0] is not first


@pytest.mark.parametrize("is_positional", [False, True])
def test_a_default_in_an_annotation_reaches_the_function(is_positional: bool) -> None:
    """Python ignores it and would report a missing argument."""

    def keyword(
        n: Annotated[int, Field(default=4)], tags: Annotated[list[str], Field(default_factory=list)]
    ) -> Any:
        return n, tags

    def positional(
        n: Annotated[int, Field(default=4)], tags: Annotated[list[str], Field(default_factory=list)], /
    ) -> Any:
        return n, tags

    function = positional if is_positional else keyword

    assert give(function) == (4, [])
    assert schema(function)["properties"]["n"] == {"type": "integer", "default": 4}
    assert "required" not in schema(function)


def test_a_default_in_the_signature_takes_precedence_over_one_in_an_annotation() -> None:
    """As in a call from Python."""

    def tide(n: Annotated[int, Field(default=4)] = 7) -> int:
        return n

    assert give(tide) == 7
    assert schema(tide)["properties"]["n"]["default"] == 7


def test_other_declarations_of_a_field_are_used() -> None:
    """Bounds are checked; its description precedes the docstring; its alias is ignored; its factory gets the other values."""

    def tide(
        n: int = Field(3, ge=1, alias="count", validation_alias="number", description="How many."),
        twice: int = Field(default_factory=lambda data: 2 * data["n"]),
    ) -> tuple[int, int]:
        """Give it.

        Args:
            n: Something else.
        """
        return n, twice

    assert give(tide) == (3, 6)
    assert give(tide, n=5) == (5, 10)
    assert schema(tide)["properties"]["n"]["description"] == "How many."
    with pytest.raises(BadArgumentsError, match="n: Input should be greater"):
        give(tide, n=0)


def test_a_declared_default_may_be_of_any_annotated_type() -> None:
    """A model, a dataclass, a TypedDict; a marker of another type means that there is no default."""
    defaults = Port(name="Brest"), Boat("Ada"), {"quay": "A"}

    def moor(
        port: Port = Option(defaults[0]),  # type: ignore[assignment]  # noqa: B008
        boat: Boat = Option(defaults[1]),  # type: ignore[assignment]  # noqa: B008
        berth: Berth = Option(defaults[2]),  # type: ignore[assignment]  # noqa: B008
    ) -> Any:
        return port, boat, berth

    def leave(port: Port = Option("required")) -> None: ...  # type: ignore[assignment]  # noqa: B008

    assert give(moor) == defaults
    assert schema(leave)["required"] == ["port"]


def test_a_field_without_a_default_is_required() -> None:
    """For the markers of each library."""

    def tide(a: int = Field(...), b: int = Field(description="x"), c: int = Option()) -> None: ...  # type: ignore[assignment]

    assert schema(tide)["required"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "default",
    [
        Colour.BLUE,
        Port(name="Brest"),
        Boat("Ada"),
        datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC),
        datetime.date(2026, 3, 1),
        datetime.timedelta(hours=6),
        pathlib.Path("tides.csv"),
        decimal.Decimal("1.5"),
        uuid.UUID(int=1),
        {1, 2},
        Pair({"quay": "A"}),
    ],
    ids=lambda default: type(default).__name__,
)
@pytest.mark.parametrize("is_annotated", [True, False])
def test_a_default_of_any_type_is_passed_unchanged(default: Any, is_annotated: bool) -> None:
    """If the model leaves it out; a given value has the same type, with an annotation or without."""

    def tide(it: Any = default) -> Any:
        return it

    if is_annotated:
        tide.__annotations__["it"] = type(default)
    as_json = json.loads(TypeAdapter(portable(type(default))).dump_json(default))

    assert give(tide) is default
    assert type(give(tide, it=as_json)) is type(default)
    assert json.dumps(schema(tide))


def test_an_argument_for_a_framework_is_refused_by_name() -> None:
    """The model must not choose the user, and the function must not get the marker in place of a session."""

    def by_default(user: int = Depends(lambda: 1)) -> None: ...  # type: ignore[assignment]

    def by_annotation(user: Annotated[int, Depends(lambda: 1)]) -> int:
        return user

    for function in (by_default, by_annotation):
        with pytest.raises(
            ConfigurationError, match=r"argument user is filled in by a framework, through Depends"
        ):
            Tool(function)
    assert give(functools.partial(by_annotation, user=2)) == 2


@pytest.mark.parametrize(
    ("hint", "given"),
    [
        (Berth, {"quay": "A"}),
        (Voyage, {"port": "Brest", "berths": [{"quay": "A", "metres": 3.0}]}),
        (Buoy, {"name": "a", "moored_to": [{"name": "b", "moored_to": []}]}),
        (Mark, {"name": "a"}),
        (list[Berth], [{"quay": "A"}]),
        (dict[str, Berth], {"first": {"quay": "A"}}),
        (typing.Sequence[Berth], [{"quay": "A"}]),
        (Berth | None, {"quay": "A"}),
        (int | Berth, {"quay": "A"}),
        (Annotated[Berth, Field(description="Where.")], {"quay": "A"}),
        (tuple[int, Berth], [1, {"quay": "A"}]),
        (typing.NewType("Place", Berth), {"quay": "A"}),
        (typing_extensions.TypeAliasType("Place", Berth), {"quay": "A"}),
        (Crate[Berth], {"content": {"quay": "A"}}),
    ],
    ids=str,
)
@pytest.mark.parametrize("has_default", [False, True])
def test_nested_typed_dicts_are_supported_as_arguments(hint: Any, given: Any, has_default: bool) -> None:
    """Those of `typing` too, on every Python; with a default they are still described."""

    def moor(at: Any) -> Any:
        return at

    def moor_by_default(at: Any = None) -> Any:
        return at

    function = moor_by_default if has_default else moor
    function.__annotations__["at"] = hint

    got = give(function, at=given)

    assert "at" in schema(function)["properties"]
    assert json.loads(json.dumps(got)) == given
    assert Tool(function).notes == ()
    with pytest.raises(BadArgumentsError, match="at"):
        give(function, at="nowhere")


def test_classes_with_typed_dicts_are_instantiated() -> None:
    """A dataclass, a named tuple."""

    def count(fleet: Fleet, pair: Pair) -> tuple[Fleet, Pair]:
        return fleet, pair

    got = give(count, fleet={"berths": [{"quay": "A"}]}, pair=[{"quay": "B"}])

    assert got == (Fleet([{"quay": "A"}]), Pair({"quay": "B"}))
    assert type(got[1]) is Pair


def test_required_keys_of_a_typed_dict_are_described_and_checked() -> None:
    """`Required`, `NotRequired` and `total=False`, on a class with string annotations."""

    def sail(voyage: Voyage) -> None: ...

    definition = schema(sail)["$defs"]

    assert definition["Voyage"]["required"] == ["port"]
    assert definition["Berth"]["required"] == ["quay"]
    with pytest.raises(BadArgumentsError, match=r"voyage\.port: Field required"):
        give(sail, voyage={})
    with pytest.raises(BadArgumentsError, match=r"voyage\.length"):
        give(sail, voyage={"port": "Brest", "length": 0})


def test_keyword_arguments_of_a_type_are_described_and_checked() -> None:
    """`**options: int`, and `**options: Unpack[Options]`, which names them."""

    def number(**options: int) -> dict[str, int]:
        return options

    def named(**options: Unpack[Voyage]) -> Voyage:
        return options

    assert give(number, a=1) == {"a": 1}
    assert schema(number)["additionalProperties"] == {"type": "integer"}
    assert give(named, port="Brest") == {"port": "Brest"}
    assert set(schema(named)["properties"]) == {"port", "berths", "length"}
    assert schema(named)["required"] == ["port"]
    with pytest.raises(BadArgumentsError, match="a: Input should be a valid integer"):
        give(number, a="x")
    with pytest.raises(BadArgumentsError, match="fog: Extra"):
        give(named, port="Brest", fog=1)


def test_an_argument_that_keeps_its_default_is_noted() -> None:
    """A positional one keeps its position."""
    table, frames = pd.DataFrame(), (lambda: table)

    def draw(port: str, axes: pd.DataFrame | None = None, connection=table) -> Any:  # type: ignore[no-untyped-def]
        return port, axes, connection

    def place(table: pd.DataFrame = table, n: int = 1, /) -> Any:
        return table, n

    def made(table: pd.DataFrame = Field(default_factory=frames)) -> Any:  # noqa: B008
        return table

    axes, connection = Tool(draw).notes
    assert axes.startswith("draw keeps the default of its argument axes: JSON cannot express pandas.")
    assert connection == "draw keeps the default of its argument connection: JSON cannot express DataFrame."
    assert set(schema(draw)["properties"]) == {"port"}
    assert give(place, n=3) == (table, 3)
    assert give(made) is table
    assert Toolbox([draw]).notes == (axes, connection)


def test_a_method_without_its_object_is_refused() -> None:
    """A model cannot pass `self`."""
    with pytest.raises(
        ConfigurationError, match=r"a method of Gull, and needs an object: name it as object.read"
    ):
        Tool(Gull.read)
