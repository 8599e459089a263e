"""From functions to tools: what the API is told about them, and how its arguments reach them."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
from typing import Annotated, Any, Literal

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

    Tool(plan).call({"colour": "red", "port": {"name": "Brest"}, "boat": {"name": "Ada"}, "wind": 5})

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
        Tool(tide).call(arguments)


def test_callables_of_all_kinds_can_be_tools() -> None:
    """Methods, objects, partial functions, lambdas, positional-only arguments."""

    class Gauge:
        def read(self, x: int) -> int:
            return x + 1

        def __call__(self, x: int) -> int:
            return x + 2

    def add(x: int, y: int, /) -> int:
        return x + y

    assert Tool(Gauge().read).call({"x": 1}) == 2
    assert Tool(Gauge()).call({"x": 1}) == 3
    assert Tool(functools.partial(add, 5)).call({"y": 1}) == 6
    assert Tool(add).call({"x": 1, "y": 2}) == 3
    assert Tool(lambda x: x, name="same").call({"x": [1]}) == [1]


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
