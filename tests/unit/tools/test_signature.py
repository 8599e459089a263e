"""From functions to tools: what the API is told about them, and how its arguments reach them."""

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
    """Types, what must be given, defaults, and what the docstring says of function and arguments."""

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
    """Literals, enums, optional ones, dates, models, dataclasses, bounds."""

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


def test_arguments_are_checked_and_made_what_the_function_expects() -> None:
    """A model sends JSON; the function gets its own types, and its own defaults."""
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
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, Any], says: str) -> None:
    """The model can do better the next time."""

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


def test_what_cannot_be_a_tool_says_why() -> None:
    """Before anything is sent."""

    def many(*ports: str) -> None: ...

    with pytest.raises(ConfigurationError, match=r"\*arguments have no names"):
        Tool(many)
    with pytest.raises(ConfigurationError, match="cannot be the name of a tool"):
        Tool(lambda: None)
    with pytest.raises(ConfigurationError, match="Two of the tools"):
        Toolbox([Gull().read, Gull().read])


class Gull:
    def read(self) -> str:
        return "sea"


def test_tools_are_found_by_the_names_of_the_notebook() -> None:
    """Attributes too; a slip gets a hint."""
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
def test_what_is_no_list_of_functions_is_refused(given: object, words: str) -> None:
    """One function alone, or something else in the list."""
    with pytest.raises(ConfigurationError) as caught:
        Toolbox.of(given)

    assert caught.value.message == f"{words}. Nothing was sent."


def test_an_empty_list_of_functions_is_no_tools() -> None:
    """A list that is built may be empty."""
    assert Toolbox.of([]) is None


def test_types_that_nobody_can_resolve_leave_the_arguments_open() -> None:
    """An annotation may name what is imported for type checkers alone."""

    def tide(port: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert schema(tide)["properties"] == {"port": {}}


def test_arguments_by_position_keep_their_places() -> None:
    """One that is left out must not give its place to the next."""

    def add(x: int = 1, y: int = 2, /) -> tuple[int, int]:
        return x, y

    assert Tool(add).bind({"y": 9})() == (1, 9)


def test_one_type_that_nobody_can_resolve_does_not_take_the_others_with_it() -> None:
    """Each annotation stands for itself."""

    def tide(port: "str", when: "Nowhere", day: "int" = 1) -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    assert schema(tide)["properties"] == {
        "port": {"type": "string"},
        "when": {},
        "day": {"type": "integer", "default": 1},
    }


def test_an_argument_that_is_no_json_keeps_its_default_or_is_refused_by_name() -> None:
    """A table cannot come from a model, but a function that draws into given axes can still be called."""
    got: list[Any] = []

    def draw(port: str, axes: pd.DataFrame | None = None, table: pd.DataFrame = pd.DataFrame()) -> None:  # noqa: B008
        got.append((port, axes))

    def weigh(table: pd.DataFrame) -> None: ...

    Tool(draw).bind({"port": "Brest"})()

    assert "table" not in schema(draw)["properties"]
    assert got == [("Brest", None)]
    with pytest.raises(ConfigurationError, match="argument table, which is of type DataFrame"):
        Tool(weigh)


def test_numbers_of_numpy_are_made_from_json() -> None:
    """Their types are written in signatures by those who compute."""

    def scale(x: np.float64, n: np.int32) -> tuple[type, type]:
        return type(x), type(n)

    assert schema(scale)["properties"] == {"x": {"type": "number"}, "n": {"type": "integer"}}
    assert Tool(scale).bind({"x": 1.5, "n": 2})() == (np.float64, np.int32)


def test_defaults_that_are_no_json_or_a_secret_are_not_sent() -> None:
    """A NaN makes a request invalid; a key as a default must not leave the notebook."""

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


def test_classes_and_objects_are_described_by_what_takes_the_arguments() -> None:
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


def test_numpy_docstrings_say_it_of_several_arguments_at_once() -> None:
    """The field's own style."""

    def add(x: int, y: int) -> int:
        """Add.

        Parameters
        ----------
        x, y : int
            What to add.
        """
        return x + y

    assert {each["description"] for each in schema(add)["properties"].values()} == {"What to add."}


def test_a_decorated_function_has_the_signature_of_what_it_wraps() -> None:
    """`functools.wraps` leaves `*args, **kwargs` behind, which nobody means."""

    def tide(port: str, day: int = 1) -> str:
        return f"{port} {day}"

    @functools.wraps(tide)
    def logged(*args: Any, **kwargs: Any) -> str:
        return tide(*args, **kwargs)

    assert schema(logged)["required"] == ["port"]
    assert Tool(logged).bind({"port": "Brest", "day": "4"})() == "Brest 4"


def test_async_functions_are_known_through_wrappers() -> None:
    """They need not wait until the screen has said that they block."""

    async def wind() -> None: ...

    class Vane:
        async def __call__(self) -> None: ...

    assert Tool(wind).is_async
    assert Tool(Vane()).is_async
    assert Tool(functools.partial(wind), name="wind").is_async
    assert not Tool(Gull().read).is_async


def test_names_that_would_be_the_same_for_the_model_are_refused() -> None:
    """The same one twice is harmless."""
    names = {"gull": Gull(), "gull_read": lambda: "land"}

    assert Toolbox.named(["gull.read", "gull.read"], names).names == ("gull_read",)
    with pytest.raises(ConfigurationError, match="would be called gull_read"):
        Toolbox.named(["gull.read", "gull_read"], names)


def test_a_slip_in_an_attribute_gets_a_hint_too() -> None:
    """And says which part does not exist."""
    with pytest.raises(ConfigurationError, match="gull has no raed"):
        Toolbox.named(["gull.raed"], {"gull": Gull()})


def give(function: Any, **arguments: Any) -> Any:
    """Call a function as a model does."""
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
    """As `typer.Option` is: a declaration in the place of a default."""

    default: Any = ...
    default_factory: Any = None
    help: str | None = None


@dataclasses.dataclass
class Depends:
    """As FastAPI's is: a mark for what the framework fills in."""

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
        (lambda: dataclasses.field(default=3), 3),
    ],
)
def test_a_default_that_is_declared_reaches_the_function_as_a_value(
    declare: Callable[[], Any], value: object
) -> None:
    """Not as the declaration, however the function takes the argument; each call gets one of its own."""

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
    """Python knows none there, and would complain of a missing argument."""

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


def test_pythons_own_default_goes_before_one_in_an_annotation() -> None:
    """As Python calls the function."""

    def tide(n: Annotated[int, Field(default=4)] = 7) -> int:
        return n

    assert give(tide) == 7
    assert schema(tide)["properties"]["n"]["default"] == 7


def test_what_a_field_declares_besides_its_default_holds() -> None:
    """Bounds are checked; a description goes before the docstring; an alias is for others; a factory sees the others' values."""

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


def test_a_field_without_a_default_must_be_given() -> None:
    """Whatever its library writes for that."""

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
def test_a_default_of_any_type_stays_the_object_that_it_is(default: Any, is_annotated: bool) -> None:
    """Where the model leaves it out; what the model gives is of the same type, with an annotation or without."""

    def tide(it: Any = default) -> Any:
        return it

    if is_annotated:
        tide.__annotations__["it"] = type(default)
    as_json = json.loads(TypeAdapter(portable(type(default))).dump_json(default))

    assert give(tide) is default
    assert type(give(tide, it=as_json)) is type(default)
    assert json.dumps(schema(tide))


def test_what_only_a_framework_fills_in_is_refused_by_name() -> None:
    """The model must not choose the user, nor the function get the mark instead of a session."""

    def by_default(user: int = Depends(lambda: 1)) -> None: ...  # type: ignore[assignment]

    def by_annotation(user: Annotated[int, Depends(lambda: 1)]) -> int:
        return user

    for function in (by_default, by_annotation):
        with pytest.raises(ConfigurationError, match=r"argument user is left to a framework, by Depends"):
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
def test_typed_dicts_are_arguments_wherever_they_stand(hint: Any, given: Any, has_default: bool) -> None:
    """Those of `typing` too, on every Python; with a default they do not vanish."""

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


def test_classes_that_hold_typed_dicts_are_made_as_themselves() -> None:
    """A dataclass, a named tuple."""

    def count(fleet: Fleet, pair: Pair) -> tuple[Fleet, Pair]:
        return fleet, pair

    got = give(count, fleet={"berths": [{"quay": "A"}]}, pair=[{"quay": "B"}])

    assert got == (Fleet([{"quay": "A"}]), Pair({"quay": "B"}))
    assert type(got[1]) is Pair


def test_what_must_be_in_a_typed_dict_is_told_and_checked() -> None:
    """`Required`, `NotRequired` and `total=False`, on a class whose annotations are text."""

    def sail(voyage: Voyage) -> None: ...

    definition = schema(sail)["$defs"]

    assert definition["Voyage"]["required"] == ["port"]
    assert definition["Berth"]["required"] == ["quay"]
    with pytest.raises(BadArgumentsError, match=r"voyage\.port: Field required"):
        give(sail, voyage={})
    with pytest.raises(BadArgumentsError, match=r"voyage\.length"):
        give(sail, voyage={"port": "Brest", "length": 0})


def test_named_arguments_of_a_type_are_told_and_checked() -> None:
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


def test_an_argument_that_keeps_its_default_is_told_to_the_reader() -> None:
    """It does not vanish without a word, and by position it keeps its place."""
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
    """`self` is nothing that a model could give."""
    with pytest.raises(
        ConfigurationError, match=r"a method of Gull, and needs an object: name it as object.read"
    ):
        Tool(Gull.read)
