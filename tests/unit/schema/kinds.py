"""Types as users define them, for the tests of this folder."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from decimal import Decimal
from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict

from pydantic import BaseModel, Field


class Lamp(enum.Enum):
    OIL = "Oil"
    LED = "LED"


class Keeper(BaseModel):
    """Who lit the lamp."""

    name: str
    since: int = Field(ge=1700, le=2100, description="first year")


class Lighthouse(BaseModel):
    name: str = Field(min_length=2, pattern=r"^\w+?")
    height: float | None = None
    keepers: list[Keeper] = Field(min_length=1, max_length=9)
    head: Keeper = Field(description="the head keeper")
    lamp: Lamp = Lamp.OIL
    position: tuple[float, float]
    lit: datetime.date
    price: Decimal = Decimal("1.50")
    tags: set[str] = Field(default_factory=set)


@dataclasses.dataclass
class Tide:
    port: str
    metres: float
    keepers: list[Keeper] = dataclasses.field(default_factory=list)


class Ship(TypedDict):
    """A TypedDict of the standard library."""

    name: str
    tonnes: NotRequired[int]


class Harbour(TypedDict, total=False):
    ships: list[Ship]
    flag: Ship | None


class Course(TypedDict, total=False):
    name: Required[str]
    fleet: Fleet


@dataclasses.dataclass
class Fleet:
    ships: list[Ship]
    flag: Annotated[Ship, Field(description="the flag ship")]


class Buoy(TypedDict):
    moored_to: list[Buoy]


class Tree(BaseModel):
    name: str
    children: list[Tree]


class Even(BaseModel):
    odd: Odd | None = None


class Odd(BaseModel):
    even: Even


class Scores(BaseModel):
    scores: dict[str, int]


class Anything(BaseModel):
    thing: Any


class Bag(BaseModel):
    things: list


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    barks: bool


class Home(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")


NAMES: dict[str, object] = {
    name: value
    for name, value in globals().items()
    if isinstance(value, type) and value.__module__ == __name__
}
