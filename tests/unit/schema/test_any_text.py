"""Any spec or answer gives a result or an error of this package."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import NAMES

from claude_magic.client import ConfigurationError
from claude_magic.schema import (
    NoJSONError,
    SchemaMismatchError,
    extract_code,
    extract_json,
    make_output_schema,
)
from claude_magic.simulator._checks import check_output_format

WORDS = [
    "name",
    "age",
    "int",
    "str",
    "list",
    "date",
    "Keeper",
    "Lamp",
    "None",
    "x.y",
    "1",
    "'a b'",
    "é",
    "class",
    "_",
]
MARKS = ["[", "]", "{", "}", "|", ",", ":", "?", "\n", " ", '"', "-"]
specs = st.lists(st.sampled_from(WORDS + MARKS), max_size=14).map(" ".join)
answers = st.text(alphabet='ab \n`~{}[]":,1-.()=#>%!\\\t\r\x00\u2028', max_size=80)


@settings(deadline=None, max_examples=400)
@given(specs)
def test_any_spec_is_a_supported_schema_or_an_error_of_this_package(spec: str) -> None:
    """No text after `--schema` ends in another traceback."""
    with contextlib.suppress(ConfigurationError):
        schema = make_output_schema(spec, NAMES)
        check_output_format({"type": "json_schema", "schema": schema.json_schema})
        assert json.dumps(schema.json_schema)


@settings(deadline=None)
@given(answers)
def test_any_answer_has_code_or_none(answer: str) -> None:
    """The code contains only text of the answer."""
    code = extract_code(answer)

    assert set("".join(code.split())) <= set(answer)


@settings(deadline=None)
@given(answers)
def test_any_answer_is_json_or_an_error_of_this_package(answer: str) -> None:
    """With and without a schema."""
    with contextlib.suppress(NoJSONError):
        extract_json(answer)
    with contextlib.suppress(SchemaMismatchError):
        make_output_schema("list[Lamp]", NAMES).parse(answer)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_value_is_found_in_a_fence_and_bare(value: object) -> None:
    """A value written as JSON is read as that value."""
    written = json.dumps(value)

    assert extract_json(written) == value
    assert extract_json(f"Here it is:\n\n```json\n{written}\n```\n") == value
