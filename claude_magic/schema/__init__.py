"""Typed answers: the code, the JSON or the object that an answer holds, and the schema that asks for one."""

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
