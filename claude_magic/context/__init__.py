"""What the user's things become for Claude: values in a prompt, objects, files, cells, errors.

What the user typed is sent as typed. What is collected for them is bounded, and what looks like a secret in it
becomes `[REDACTED]`.
"""

from ._collected import Collected, Part, join
from ._names import UserNames

__all__ = [
    "Collected",
    "Part",
    "UserNames",
    "join",
]
