"""What the user's things become for Claude: values in a prompt, objects, files, cells, errors.

What the user typed is sent as typed. What is collected for them is bounded, and what looks like a secret in it
becomes `[REDACTED]`.
"""

from ._attachments import attach
from ._cells import CellRange, CellRecord, collect_cells, parse_cell_range
from ._collected import Collected, Part, join
from ._content import content_of, notes_on
from ._describe import describe, register, unread
from ._error_records import ErrorRecord, describe_error
from ._explain import describe_name
from ._exposure import exposed_in, refusal
from ._files import decode_file
from ._interpolate import interpolate, names_in
from ._lookup import root_of
from ._names import UserNames, closest_name, is_history, names_of
from ._pictures import Lifted, image_block
from ._redaction import REDACTED, holds_key, redact
from ._safely import safe_repr

__all__ = [
    "REDACTED",
    "CellRange",
    "CellRecord",
    "Collected",
    "ErrorRecord",
    "Lifted",
    "Part",
    "UserNames",
    "attach",
    "closest_name",
    "collect_cells",
    "content_of",
    "decode_file",
    "describe",
    "describe_error",
    "describe_name",
    "holds_key",
    "exposed_in",
    "image_block",
    "interpolate",
    "is_history",
    "join",
    "names_in",
    "names_of",
    "notes_on",
    "parse_cell_range",
    "redact",
    "refusal",
    "register",
    "root_of",
    "safe_repr",
    "unread",
]
