"""From functions to tools: what the API is told about them, and how its arguments reach them."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import json
import math
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel, Field

from claude_magic.client import ConfigurationError
from claude_magic.tools import Toolbox
from claude_magic.tools._signature import BadArgumentsError, Tool


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
    with pytest.raises(ConfigurationError, match="no function, but int"):
        Toolbox.named(["number"], names)


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
