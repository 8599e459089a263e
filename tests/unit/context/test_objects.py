"""Descriptions of containers with images, rich representations, code, and objects that can be read only once."""

from __future__ import annotations

import argparse
import base64
import csv
import dataclasses
import functools
import importlib
import io
import itertools
import sqlite3
import threading
import types
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
import pandas as pd
import pytest
from IPython import display
from IPython.utils import capture
from PIL import Image

from claude_magic.client import ConfigurationError
from claude_magic.context import Collected, attach, describe, interpolate


def png(color: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), color).save(buffer, "PNG")
    return buffer.getvalue()


def is_picture(part: object) -> bool:
    return (
        isinstance(part, dict) and part["type"] == "image" and bool(base64.b64decode(part["source"]["data"]))
    )


def outline(collected: Collected) -> list[str]:
    """Return the parts, with "■" for an image."""
    return ["■" if is_picture(part) else str(part) for part in collected.parts]


@pytest.fixture(scope="module")
def figure() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        figure = importlib.import_module("matplotlib.figure").Figure()
    figure.subplots(2, 2)
    return figure


@dataclasses.dataclass
class Run:
    name: str
    loss: Any
    secret: str = dataclasses.field(default="hunter22", repr=False)


class Pair(NamedTuple):
    name: str
    drawn: Any


class Bag:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Slotted:
    __slots__ = ("loss", "missing")

    def __init__(self, loss: Any) -> None:
        self.loss = loss


IMAGE = Image.new("RGB", (4, 4))
CONTAINERS = {
    "tuple": (lambda drawn: ("Loss", drawn), ["('Loss', ", "■", ")"]),
    "dict": (lambda drawn: {"a": drawn, "n": 1}, ["{'a': ", "■", ", 'n': 1}"]),
    "nested": (lambda drawn: {"a": [1, {"b": (drawn,)}]}, ["{'a': [1, {'b': (", "■", ")}]}"]),
    "dataclass": (lambda drawn: Run("x", drawn), ["Run(name='x', loss=", "■", ")"]),
    "named tuple": (lambda drawn: Pair("x", drawn), ["Pair(name='x', drawn=", "■", ")"]),
    "attributes": (lambda drawn: Bag(loss=drawn), ["Bag(loss=", "■", ")"]),
    "slots": (lambda drawn: Slotted(drawn), ["Slotted(loss=", "■", ")"]),
    "namespace": (lambda drawn: types.SimpleNamespace(loss=drawn), ["SimpleNamespace(loss=", "■", ")"]),
    "arguments": (lambda drawn: argparse.Namespace(loss=drawn), ["Namespace(loss=", "■", ")"]),
    "values of a dict": (lambda drawn: {"a": drawn}.values(), ["dict_values([", "■", "])"]),
    "partial": (lambda drawn: [functools.partial(print, 1), drawn], None),
}


@pytest.mark.parametrize(("make", "expected"), CONTAINERS.values(), ids=CONTAINERS.keys())
@pytest.mark.parametrize("kind", ["figure", "image", "bytes", "shown"])
def test_images_in_a_container_are_blocks_in_their_places(
    make: Callable[[Any], object], expected: list[str] | None, kind: str, figure: Any
) -> None:
    """The text around them is continuous, for any container and depth."""
    drawn = {"figure": figure, "image": IMAGE, "bytes": png(), "shown": display.Image(data=png())}[kind]

    collected = describe(make(drawn))

    shown = outline(collected)
    assert shown == expected if expected is not None else shown.count("■") == 1
    assert "hunter22" not in collected.text
    assert collected.notes == ()


def test_several_images_keep_their_order(figure: Any) -> None:
    """Artists of one figure give one image."""
    collected = describe({"whole": figure, "axes": figure.axes, "other": Image.new("RGB", (5, 5))})

    same = ", ".join(["<the same picture>"] * 4)
    assert outline(collected) == [
        "\n{\n  'whole': ",
        "■",
        f",\n  'axes': [{same}],\n  'other': ",
        "■",
        "\n}\n",
    ]


def test_an_array_of_axes_is_its_figure(figure: Any) -> None:
    """`plt.subplots` and `DataFrame.hist` return one."""
    axes = np.array(figure.axes, dtype=object).reshape(2, 2)

    assert outline(describe(axes)).count("■") == 1


def test_the_images_of_an_object_are_limited_with_a_note() -> None:
    """The rest of the object is still described."""
    collected = describe({"a": [IMAGE.copy() for _ in range(50)], "end": "here"})

    assert outline(collected).count("■") == 20
    assert collected.text.count("<Image, left out>") == 30
    assert "'end': 'here'" in collected.text
    assert any("20 pictures" in note for note in collected.notes)


def test_text_that_looks_like_the_mark_of_an_image_is_text() -> None:
    """No character of the user's is replaced by an image."""
    mark = chr(0x10FF00)
    rude = type("Rude", (), {"__repr__": lambda self: mark})()

    assert outline(describe([mark, rude, IMAGE])) == ["['\\U0010ff00', \N{REPLACEMENT CHARACTER}, ", "■", "]"]


def test_an_image_in_a_prompt_keeps_its_place(figure: Any) -> None:
    """Also one in a container."""
    collected = interpolate("See {{ pair }}, please", {"pair": ("Loss", figure)})

    assert outline(collected) == ["See ('Loss', ", "■", "), please"]


def test_tables_in_a_container_are_described_while_there_is_room() -> None:
    """Then only their shape is given."""
    frames = {f"part {number}": pd.DataFrame({"tide": range(100)}) for number in range(30)}

    collected = describe(frames, max_tokens=1_500)

    assert "'part 0': DataFrame: 100 rows × 1 columns" in collected.text
    assert "'part 29': <DataFrame 100 × 1>" in collected.text
    assert len(collected.text) < 6_000


def rich(**forms: Any) -> Any:
    """Return an object with only some of IPython's display methods."""
    return type("Rich", (), {name: (lambda self, form=form: form) for name, form in forms.items()})()


def bundle(content: Any, **methods: Any) -> Any:
    methods["_repr_mimebundle_"] = lambda self, include=None, exclude=None: content
    return type("Rich", (), methods)()


ENCODED = base64.b64encode(png()).decode()
RICH = {
    "Markdown": (display.Markdown("**High** water"), "**High** water"),
    "HTML": (display.HTML("<b>4 m</b><script>alert(1)</script><!-- x -->"), "\n```html\n<b>4 m</b>\n```\n"),
    "Latex": (display.Latex("$x^2$"), "$x^2$"),
    "Math": (display.Math("x^2"), r"$\displaystyle x^2$"),
    "JSON": (display.JSON({"a": [1]}), '\n```json\n{"a": [1]}\n```\n'),
    "Code": (display.Code("x = 1", language="python"), "\n```python\nx = 1\n```\n"),
    "Pretty": (display.Pretty("as it is"), "as it is"),
    "Javascript": (display.Javascript("go()"), "\n```javascript\ngo()\n```\n"),
    "link": (display.FileLink("tide.csv"), "tide.csv"),
    "frame": (display.IFrame("https://example.org", 1, 2), "https://example.org"),
    "slider": (ipywidgets.IntSlider(5), "IntSlider(value=5)"),
    "markdown": (rich(_repr_markdown_="# T"), "# T"),
    "latex": (rich(_repr_latex_="$y$"), "$y$"),
    "html": (rich(_repr_html_="<table><tr><td>1</td></tr></table>"), "<td>1</td>"),
    "json": (rich(_repr_json_=({"a": 1}, {"expanded": True})), '{"a": 1}'),
    "javascript": (rich(_repr_javascript_="go()"), "go()"),
    "pretty": (bundle({"text/plain": "a boat"}), "a boat"),
    "bundle": (bundle({"text/markdown": "*b*", "text/plain": "b"}), "*b*"),
    "bundle with metadata": (bundle(({"text/latex": "$z$"}, {})), "$z$"),
    "chart": (bundle({"application/vnd.vegalite.v5+json": {"mark": "bar"}}), '{"mark": "bar"}'),
    "its own text before HTML": (
        bundle({"text/html": "<i>no</i>"}, __repr__=lambda self: "Pipeline(steps=2)"),
        "Pipeline(steps=2)",
    ),
    "a failing form": (
        type("Rich", (), {"_repr_markdown_": lambda self: 1 / 0, "_repr_html_": lambda self: "<i>yes</i>"})(),
        "<i>yes</i>",
    ),
    "its str": (type("Circuit", (), {"__str__": lambda self: "--X--"})(), "--X--"),
}


@pytest.mark.parametrize(("value", "text"), RICH.values(), ids=RICH.keys())
def test_the_rich_representation_of_an_object_is_sent(value: object, text: str) -> None:
    """Alone and in a list; scripts and styles are removed from HTML."""
    collected, inside = describe(value), describe([value])

    assert text in collected.text
    assert text.strip() in inside.text
    assert "alert" not in collected.text + inside.text
    assert collected.notes == ()


@pytest.mark.parametrize(
    "value",
    [
        rich(_repr_png_=png()),
        rich(_repr_png_=ENCODED),
        rich(_repr_png_=(png(), {"width": 4})),
        rich(_repr_jpeg_=png()),
        bundle({"image/png": ENCODED, "text/plain": "<Rich>"}),
        bundle({"image/png": png(), "text/html": "<i>no</i>"}),
        type("Chart", (), {"_repr_png_": lambda self: png(), "__repr__": lambda self: "Chart(...)"})(),
        display.Image(data=png()),
        ipywidgets.Image(value=png()),
        io.BytesIO(png()),
    ],
)
def test_an_image_representation_is_an_image(value: object) -> None:
    """Alone and in a container."""
    assert outline(describe(value)) == ["■"]
    assert outline(describe({"a": value})) == ["{'a': ", "■", "}"]


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (display.Markdown(f"see ![x](data:image/png;base64,{ENCODED}) here"), ["see ![x](", "■", ") here"]),
        (
            display.HTML(f"<p>a<img alt='' src='data:image/png;base64,{ENCODED}'>b</p>"),
            ["\n```html\n<p>a\n```\n", "■", "\n```html\nb</p>\n```\n"],
        ),
    ],
)
def test_an_image_in_markdown_or_html_is_extracted(value: object, parts: list[str]) -> None:
    """As text, its data would only cost money."""
    assert outline(describe(value)) == parts


def test_other_embedded_data_in_html_is_left_out() -> None:
    """Its type and length are given."""
    text = describe(display.Markdown(f"[x](data:audio/wav;base64,{'A' * 10_000})")).text

    assert text == "[x]((audio/wav, 10,000 characters, left out))"


def test_an_svg_is_sent_as_source_with_a_note() -> None:
    """The API does not accept SVG."""
    for value in (display.SVG("<svg xmlns='http://www.w3.org/2000/svg'/>"), rich(_repr_svg_="<svg/>")):
        collected = describe(value)
        assert "<svg" in collected.text
        assert "SVG" in collected.notes[0]


def test_the_url_of_an_image_is_passed_to_the_api() -> None:
    """A local link cannot be fetched and is refused."""
    (block,) = describe(display.Image(url="https://example.org/a.png")).parts

    assert block == {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    with pytest.raises(ConfigurationError, match="only linked"):
        describe(display.Image(url="local.png"))


def test_audio_is_named_with_a_note() -> None:
    """The API does not accept audio."""
    collected = describe(display.Audio(data=np.ones(10), rate=8_000))

    assert collected.text == "<Audio: data in memory>"
    assert "neither audio nor video" in collected.notes[0]


def test_captured_output_is_sent() -> None:
    """`%%capture` stores text and displays."""
    outputs = [{"data": {"image/png": png(), "text/plain": "<Figure>"}, "metadata": {}}]

    collected = describe(capture.CapturedIO(io.StringIO("loss 3\n"), io.StringIO(), outputs))

    assert "loss 3" in collected.text
    assert outline(collected).count("■") == 1


@functools.lru_cache
def cached(depth: int) -> int:
    """Measure."""
    return depth * 2


def wrapped(function: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(function)
    def wrapper(*arguments: int) -> int:
        return function(*arguments)

    return wrapper


@wrapped
def decorated(depth: int) -> int:
    return depth * 3


@functools.singledispatch
def dispatched(depth: int) -> int:
    return depth * 4


class Gauge:
    def __repr__(self) -> str:
        return "Gauge(at Brest)"

    def read(self) -> int:
        return 4

    @property
    def level(self) -> int:
        return 5

    @functools.cached_property
    def mean(self) -> int:
        return 6

    @classmethod
    def make(cls) -> int:
        return 7

    @staticmethod
    def check() -> int:
        return 8


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (cached, ["def cached(depth: int)", "return depth * 2"]),
        (decorated, ["def decorated(depth: int)", "return depth * 3"]),
        (dispatched, ["return depth * 4"]),
        (functools.partial(decorated, 3), ["return depth * 3", "applied to 3"]),
        (
            functools.partial(functools.partial(pow, 2), mod=cached),
            ["pow", "applied to 2, mod=<function cached"],
        ),
        (functools.cache(functools.partial(cached, depth=1)), ["depth"]),
        (Gauge().read, ["return 4", "method of Gauge(at Brest)"]),
        (Gauge.__dict__["level"], ["return 5"]),
        (Gauge.__dict__["mean"], ["return 6"]),
        (Gauge.__dict__["make"], ["return 7"]),
        (Gauge.__dict__["check"], ["return 8"]),
        (Gauge.make, ["return 7"]),
        ([].append, ["append"]),
        ((1).__add__, ["__add__"]),
        (np.vectorize(decorated), ["pyfunc=<function decorated(depth"]),
        (np.add, ["add"]),
    ],
)
def test_wrapped_code_is_described_by_its_source(function: object, words: list[str]) -> None:
    """Cached, decorated, partial, bound; in a container by its name and signature."""
    alone, inside = describe(function).text, describe({"f": function}).text

    assert [word for word in words if word not in alone] == []
    assert " at 0x" not in alone + inside
    assert "{'f': <object" not in inside


def count() -> Iterator[int]:
    yield 1


async def count_async() -> AsyncIterator[int]:
    yield 1


async def fetch() -> int:
    return 1


UNREAD = {
    "generator": count,
    "generator expression": lambda: (number for number in [1]),
    "map": lambda: map(str, [1]),
    "zip": lambda: zip([1], [2], strict=True),
    "filter": lambda: filter(None, [1]),
    "enumerate": lambda: enumerate([1]),
    "reversed": lambda: reversed([1]),
    "iterator": lambda: iter([1]),
    "chain": lambda: itertools.chain([1]),
    "reader": lambda: csv.reader(["a,b"]),
    "cursor": lambda: sqlite3.connect(":memory:").execute("select 1"),
}


@pytest.mark.parametrize("make", UNREAD.values(), ids=UNREAD.keys())
def test_an_iterator_is_refused_and_not_read(make: Callable[[], Iterator[Any]]) -> None:
    """The message gives an alternative; in a container it is named, with a note."""
    values, twin = make(), make()

    with pytest.raises(ConfigurationError, match=r"^rows: .*list\(rows\).*Nothing was sent\.$"):
        interpolate("{{ rows }}", {"rows": values})
    inside = describe({"rows": values})

    assert inside.text.endswith(", not read>}")
    assert "only once" in inside.notes[0]
    assert list(values) == list(twin) != []


def test_a_coroutine_is_refused(tmp_path: Any) -> None:
    """It has no value yet; an async generator cannot be read here."""
    coroutine, values = fetch(), count_async()
    names = {"answer": coroutine, "values": values}

    with pytest.raises(ConfigurationError, match=r"Await it in a cell.*Nothing was sent"):
        interpolate("{{ answer }}", names)
    with pytest.raises(ConfigurationError, match=r"async for value in values"):
        attach("values", names, directory=tmp_path)
    inside = describe([coroutine, values])
    coroutine.close()

    assert inside.text == "[<coroutine, not read>, <async generator, not read>]"
    assert len(inside.notes) == 2


def test_iterables_that_can_be_read_again_are_described() -> None:
    """A range, a counter with its own repr, a dict view."""
    assert describe(range(3)).text == "range(0, 3)"
    assert describe(itertools.count(5)).text == "count(5)"
    assert describe(io.StringIO("tide")).text == "tide"


def test_an_open_file_is_named_and_not_read(tmp_path: Any) -> None:
    """Its position is unchanged; a note says how to send the content."""
    path = tmp_path / "tide.txt"
    path.write_text("high\nlow\n", encoding="utf-8")

    with path.open(encoding="utf-8") as file:
        collected = describe(file)
        assert file.readline() == "high\n"

    assert "tide.txt" in collected.text
    assert "-a PATH" in collected.notes[0]


class Quiet:
    def measure(self) -> None:
        """Measure."""


@pytest.mark.parametrize(
    "make",
    [object, Quiet, threading.Lock, lambda: sqlite3.connect(":memory:"), lambda: rich(_repr_html_=None)],
)
def test_an_object_without_a_repr_is_named_by_its_type_with_a_note(make: Callable[[], object]) -> None:
    """Never by its address; alone and in a container."""
    for value in (make(), [make()], {"a": (make(),)}, Bag(inner=make())):
        collected = describe(value)
        assert " at 0x" not in collected.text
        assert "Only the type of a" in collected.notes[0]


def test_an_object_is_described_by_its_public_attributes() -> None:
    """Also those in slots; private attributes are not sent."""
    assert describe(Bag(size=3, _cache="x")).text == "Bag(size=3)"
    assert describe([Slotted(2)]).text == "[Slotted(loss=2)]"
    assert (
        describe(
            type(
                "Boat", (), {"__init__": lambda self: setattr(self, "n", 1), "__str__": lambda self: "Ada"}
            )()
        ).text
        == "\nAda\nBoat(n=1)\n"
    )


def test_an_address_inside_a_repr_is_noted() -> None:
    """If an object's repr contains those of others."""
    box = type("Box", (), {"__repr__": lambda self: f"Box({object()!r})"})()

    assert describe(box) == Collected(
        parts=("Box(<object object>)",), notes=("Inside Box, only the types of objects are sent.",)
    )


def test_repr_claude_is_used_in_containers_too() -> None:
    reactor = type("Reactor", (), {"_repr_claude_": lambda self: "a reactor at 300 K"})()
    failing = type("Failing", (), {"_repr_claude_": lambda self: 1 / 0, "__repr__": lambda self: "it"})()

    assert describe({"r": reactor}).text == "{'r': a reactor at 300 K}"
    assert "ZeroDivisionError" in describe([failing]).notes[0]
