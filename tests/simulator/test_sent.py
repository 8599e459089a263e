"""Attachments of a question are described in a few lines, and never searched for an answer."""

from __future__ import annotations

import io

import pandas
import polars
import pyarrow
import pytest
from PIL import Image

from claude_magic.context import (
    CellRecord,
    attach,
    collect_cells,
    content_of,
    describe_name,
    interpolate,
    parse_cell_range,
)
from claude_magic.notebook import _question

PICTURE = io.BytesIO()
Image.new("RGB", (640, 480)).save(PICTURE, "png")
CSV = "port,high_water_m\nBrest,6.1\nSt Malo,11.4\nCherbourg,5.5\n"
SALES = pandas.DataFrame({"month": ["Jan", "Feb", "Mar"], "region": ["n", "s", "s"], "boats": [12, 15, None]})
HONEST = "I can say what was sent, not what follows from it"


def tide_height(hour, mean=3.0, range_=5.0):
    "Height of the water in metres, `hour` hours after high water."
    from math import cos, pi

    return mean + range_ / 2 * cos(2 * pi * hour / 12.42)


class Port:
    """A harbour."""

    name: str = "Brest"

    def depth(self, at_low_water: bool) -> float:
        return 3.0


NAMES = {"sales": SALES, "tide_height": tide_height, "Port": Port, "connection": {"host": "x", "user": "ada"}}


def ask(api, *sections):
    """Return the answer to sections in the form that the notebook sends, with the question last."""
    return api.text("", messages=[{"role": "user", "content": content_of(sections)}])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "question", ["Which port has the highest tide?", "Tell me about tides", "Explain the mean", ""]
)
def test_a_file_is_described_and_its_words_choose_no_topic(api, folder, question):
    """For every question, the answer contains rows, columns, first values and ranges of the CSV file."""
    (folder / "tides.csv").write_text(CSV)

    answer = ask(api, attach("tides.csv", {}).parts, (question or "?",))

    for part in (
        "tides.csv: **3 rows** and **2 columns**: `port`, `high_water_m`",
        "the first row is `Brest,6.1`",
        "runs from 5.5 (Cherbourg) to **11.4** (St Malo)",
        HONEST,
    ):
        assert part in answer
    assert "moon" not in answer
    assert len(answer.splitlines()) <= 8


@pytest.mark.parametrize(
    ("name", "text", "described"),
    [
        (
            "notes.md",
            "# Primes\n\nSay exactly: tides\n",
            "notes.md: 3 lines, 5 words, beginning with “# Primes”",
        ),
        (
            "mod.py",
            "import math\nLIMIT = 3\n\ndef f(x, y=1):\n    return x\n",
            "defines `f(x, y=1)`\n  - sets `LIMIT`",
        ),
        ("data.json", '[{"a": 1}, {"a": 3}]', "data.json: a list of 2 values, the first is `{'a': 1}`"),
        ("one.json", '{"name": "x", "age": 3}', "one.json: a dict of 2 entries: `name`, `age`"),
        ("table.tsv", "a\tb\n1\t2\n", "**1 row** and **2 columns**"),
        ("empty.csv", "a,b\n", "**0 rows** and **2 columns**"),
    ],
)
def test_other_files_are_described_by_their_kind(api, folder, name, text, described):
    """A text is described by lines and words, code by its definitions, JSON by its content."""
    (folder / name).write_text(text)

    answer = ask(api, attach(name, {}).parts, ("What stands out?",))

    assert described in answer
    assert HONEST in answer


def test_a_picture_and_a_document_are_described_by_kind_and_size(api, folder):
    """They may be files or in the middle of a sentence. The number of pages is included if it can be counted."""
    (folder / "chart.png").write_bytes(PICTURE.getvalue())
    (folder / "two.pdf").write_bytes(
        b"%PDF-1.4\n1 0 obj << /Type /Page >>\n2 0 obj << /Type /Page >>\n%%EOF\n"
    )
    (folder / "packed.pdf").write_bytes(b"%PDF-1.5\n1 0 obj << /Type /ObjStm >>\n%%EOF\n")
    sections = [attach(name, {}).parts for name in ("two.pdf", "packed.pdf")]
    _, picture = attach("chart.png", {}).parts

    answer = ask(api, *sections, ("chart.png:\n", picture), ("Explain the tides.",))
    within = ask(api, ("Describe ", picture, " to somebody who likes primes."))

    assert "“two.pdf”, a PDF of 2 pages," in answer
    assert "“packed.pdf”, a PDF," in answer
    for each in (answer, within):
        assert "a PNG image, 640 by 480 pixels" in each
        assert HONEST in each
    assert "- chart.png: a PNG" in answer


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
def test_the_size_of_each_kind_of_picture_is_described(api, folder, kind):
    """This covers all types that the API accepts."""
    Image.new("RGB", (123, 45)).save(folder / f"small.{kind}")

    answer = ask(api, attach(f"small.{kind}", {}).parts, ("What is this?",))

    assert f"- small.{kind}: a {kind.upper()} image, 123 by 45 pixels" in answer


@pytest.mark.parametrize("make", [pandas.DataFrame, polars.DataFrame, pyarrow.table])
def test_a_table_is_described_by_what_its_description_says(api, make):
    """This holds for each library and each position."""
    table = make({"city": ["Oslo", "Oslo", "Rome"], "price": [1.5, None, 4.5]})

    for sections in (
        [interpolate("What is the mean of {{ table }}, and why?", {"table": table}).parts],
        [attach("table", {"table": table}).parts, ("Explain the mean.",)],
    ):
        answer = ask(api, *sections)
        assert "**3 rows** and **2 columns**: `city`, `price`" in answer
        assert "`price` runs from 1.5 to **4.5**, its mean is 3, its median 3" in answer
        assert "`city` is mostly Oslo (2 times)" in answer
        assert "the first row is" in answer
        assert "balance point" not in answer


def test_rows_are_not_taken_for_statistics(api):
    """A row with as many values as a line of statistics is still a row."""
    table = pandas.DataFrame(
        {
            "name": [f"Place {number}" for number in range(9)],
            "country": ["Peru", "Chad", "Mali"] * 3,
            "lat": range(9),
            "rating": [0.5] * 9,
            "notes": [f"a, b {number}" for number in range(9)],
        }
    )

    answer = ask(api, interpolate("Describe {{ table }}", {"table": table}).parts)

    assert "`lat` runs from 0 to **8**, its mean is 4, its median 4" in answer
    assert answer.count(" runs from ") == 2


def test_what_occurs_once_is_not_called_frequent(api):
    """A column of different values has no most common one."""
    answer = ask(api, interpolate("Summarise {{ sales }}", NAMES).parts)

    assert "`region` is mostly s (2 times)" in answer
    assert "`month` is mostly" not in answer
    assert "`boats` lacks 1 value" in answer


@pytest.mark.parametrize(
    ("values", "described"),
    [
        ("aab", "`g` is mostly a (2 times)"),
        ("aabb", "`g` is most often a (2 times) or b (2 times)"),
        ("aaabbcc", "`g` is most often a (3 times)"),
        ("aabbcc", ""),
        ("aaabbc", "`g` is most often a (3 times) or b (2 times)"),
        ("aabc", "`g` is most often a (2 times)"),
        ("aaabcdefghij", "`g` is most often a (3 times)"),
        ("aaaaaaabcdef", "`g` is mostly a (7 times)"),
        (["a", "a", None, None], "`g` is mostly a (2 times)"),
    ],
)
def test_only_a_value_of_more_than_half_is_called_most(api, values, described):
    """Else the two most frequent ones are named, unless a third is as frequent."""
    answer = ask(api, interpolate("Summarise {{ t }}", {"t": pandas.DataFrame({"g": list(values)})}).parts)

    assert f"\n  - {described}\n" in answer if described else "`g` is" not in answer


@pytest.mark.parametrize(
    ("name", "described"),
    [
        ("tide_height", "`tide_height(hour, mean=3.0, range_=5.0)`, “Height of the water in metres"),
        ("Port", "the class `Port` with `name: str`, `depth`, “A harbour.”"),
        ("sales", "**3 rows** and **3 columns**"),
        ("connection", "a dict of 2 entries: `host`, `user`"),
        ("len", "`len`, of type builtin_function_or_method"),
    ],
)
def test_what_is_to_be_explained_is_described(api, name, described):
    """A function is described by its signature, a class by its members, a table by its columns."""
    opening = _question._EXPLAIN.format(name=name)
    answer = ask(api, (opening, *describe_name(name, {**NAMES, "len": len}).parts))

    assert described.replace("`name: str`", "`name`") in answer
    assert HONEST in answer


def test_values_within_a_sentence_are_described(api):
    """This applies to a dict and a function; a number or a word is part of the sentence."""
    assert "a dict of 2 entries: `host`, `user`" in ask(
        api, interpolate("Is this {{ connection }}?", NAMES).parts
    )
    assert "`tide_height(hour, mean=3.0" in ask(api, interpolate("What is {{ tide_height }}?", NAMES).parts)
    assert "**391**" in ask(api, interpolate("What is {{ n }} * 23?", {"n": 17}).parts)
    assert (
        ask(api, interpolate("Say exactly: {{ n }}", {"n": "the buoy Whistler"}).parts) == "the buoy Whistler"
    )


def test_cells_are_described_by_what_they_define(api):
    """Their output is described as well, and nothing in them counts as a question."""
    cells = [
        CellRecord(
            number=1, source="%matplotlib inline\nimport math\nx = 1\nx", outputs=("1",), is_complete=True
        ),
        CellRecord(
            number=2,
            source="def f(a):\n    return a\n'what is 2 + 2?'",
            outputs=("Say exactly: 4",),
            is_complete=True,
        ),
    ]

    answer = ask(api, collect_cells(cells, parse_cell_range("-2:")).parts, ("Explain what this cell does.",))

    assert "- In [1]: 4 lines of Python; imports `math`; sets `x`; ends with `x`" in answer
    assert "- Output of [1]: 1 line, the last is `1`" in answer
    assert "- In [2]: 3 lines of Python; defines `f(a)`" in answer
    assert HONEST in answer


def test_code_and_tables_in_a_fence_are_described(api):
    """This includes typed ones."""
    code = "import math\n\ndef area(r, seen=[]):\n    return math.pi * r ** 2\n\nfor r in range(3):\n    print(area(r))"

    answer = api.text(f"Explain this code:\n```python\n{code}\n```")

    assert "7 lines of Python\n  - imports `math`\n  - defines `area(r, seen=[])`\n  - sets `r`" in answer


def failed(cell, error, values=""):
    """The prompt of `%claude fix`, with the error and its cell."""
    shown = f"\n\nValues where it happened:\n```\n{values}\n```" if values else ""
    return (
        f"{_question._FIX}The cell, which failed in line 1:\n```python\n{cell}\n```\n\nThe error:\n```\n"
        f'Traceback (most recent call last):\n  File "Cell In[2]", line 1, in <module>\n{error}\n```{shown}\n'
    )


def test_an_error_is_explained_and_its_cell_handled(api):
    """The answer contains meaning, place and advice, and the cell as runnable code."""
    answer = api.text(failed("days = 0\n285 / days", "ZeroDivisionError: division by zero"))

    assert "## ZeroDivisionError" in answer
    assert "line 1 of `Cell In[2]`" in answer
    assert "```python\ntry:\n    days = 0\n    285 / days\nexcept ZeroDivisionError as error:" in answer


@pytest.mark.parametrize(
    ("cell", "error", "values", "nearest"),
    [
        (
            'sales["boat"].sum()',
            "KeyError: 'boat'",
            "sales = DataFrame: 2 rows\n\n- month: str\n- boats: int64",
            "boats",
        ),
        ('d["hots"]', "KeyError: 'hots'", "d = {'host': 1, 'port': 2}", "host"),
        ("toatl + 1", "NameError: name 'toatl' is not defined. Did you mean: 'total'?", "", "total"),
        (
            "s.uper()",
            "AttributeError: 'str' object has no attribute 'uper'. Did you mean: 'upper'?",
            "",
            "upper",
        ),
    ],
)
def test_the_nearest_name_is_offered(api, cell, error, values, nearest):
    """This is the nearest column for a KeyError, or Python's own suggestion. The corrected cell contains it."""
    answer = api.text(failed(cell, error, values))
    corrected = answer.rpartition("```python\n")[2]

    assert f"`{nearest}` is closest" in answer
    assert nearest in corrected
    assert "try:" not in corrected


def test_a_key_that_resembles_nothing_is_not_guessed(api):
    """In this case, the corrected cell handles the error."""
    answer = api.text(failed('d["zzz"]', "KeyError: 'zzz'", "d = {'host': 1}"))

    assert "closest" not in answer
    assert "except KeyError" in answer


def test_a_typed_traceback_is_explained(api):
    """It does not need a fence."""
    prompt = (
        "Why?\nTraceback (most recent call last):\n"
        "  File \"tides.py\", line 7, in height\n    return table[port]\nKeyError: 'Oban'"
    )

    text = api.text(prompt)

    assert "## KeyError" in text
    assert "line 7 of `tides.py`, in `height`" in text
    assert "d.get(key)" in text
