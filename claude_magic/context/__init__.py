"""Builds the content of a prompt from values, objects, files, cells and errors.

Text that the user typed is sent as typed. Collected content is limited in size, and anything in it that looks like a
secret becomes `[REDACTED]`.
"""

from ._attach import attach, decode_file
from ._collected import Collected, Part, content_of, fence_around, join, notes_on, safe_repr, with_article
from ._describe import CHARS_PER_TOKEN, DEFAULT_TOKENS, describe, register, unread
from ._history import CellRecord, ErrorRecord, collect_cells, describe_error, parse_cell_range
from ._names import (
    closest_name,
    did_you_mean,
    is_history,
    last_reply_in,
    names_of,
    resolve_name,
    root_of,
    why_not_bindable,
)
from ._pictures import Lifted
from ._prompt import NullValueError, describe_name, interpolate, names_in, row_prompt
from ._redaction import exposed_in, holds_key, is_secret_setting, redact, refusal
