"""Typed answers: the code, the JSON or the object that an answer holds, and the schema that asks for one."""

from ._code import CodeBlock, extract_code, fenced_blocks, find_code, join_code
from ._errors import AnswerError, NoJSONError, SchemaMismatchError
from ._hidden import describe_hidden, escape_hidden, hidden_in, reveal
from ._json import extract_json
from ._schema import OutputSchema, make_output_schema
from ._typed_dicts import fields_of, portable

__all__ = [
    "AnswerError",
    "CodeBlock",
    "NoJSONError",
    "OutputSchema",
    "SchemaMismatchError",
    "describe_hidden",
    "escape_hidden",
    "extract_code",
    "extract_json",
    "fenced_blocks",
    "fields_of",
    "find_code",
    "hidden_in",
    "join_code",
    "make_output_schema",
    "portable",
    "reveal",
]
