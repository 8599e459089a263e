"""Typed answers: the schema for the API, and the code, JSON or object in an answer."""

from ._extract import (
    HIDDEN,
    AnswerError,
    NoJSONError,
    SchemaMismatchError,
    describe_hidden,
    escape_hidden,
    extract_code,
    extract_json,
    fenced_blocks,
    find_code,
    hidden_in,
    join_code,
    reveal,
)
from ._schema import OutputSchema, fields_of, make_output_schema, portable
