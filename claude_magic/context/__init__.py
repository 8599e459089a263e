"""What the user's things become for Claude: values in a prompt, objects, files, cells, errors.

What the user typed is sent as typed. What is collected for them is bounded, and what looks like a secret in it
becomes `[REDACTED]`.
"""

from ._attach import attach, decode_file
from ._collected import Collected, Part, content_of, fence_around, join, notes_on, safe_repr, with_article
from ._describe import CHARS_PER_TOKEN, DEFAULT_TOKENS, describe, register, unread
from ._history import CellRecord, ErrorRecord, collect_cells, describe_error, parse_cell_range
from ._names import (
    UserNames,
    closest_name,
    did_you_mean,
    is_history,
    last_reply_in,
    names_of,
    resolve_name,
    root_of,
)
from ._pictures import Lifted, image_block
from ._prompt import NullValueError, describe_name, interpolate, names_in, row_prompt
from ._redaction import exposed_in, holds_key, is_secret_setting, redact, refusal
