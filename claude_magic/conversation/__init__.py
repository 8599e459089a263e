"""Conversations: a tree of turns, keyed by the cells that asked, and its storage in files."""

from ._saving import (
    OUTPUT_KEY,
    in_pieces,
    load_forest,
    read_notebook,
    restore,
    save_forest,
    saved_answers,
    turn_fields,
)
from ._tree import (
    CUT_SHORT,
    MAIN_THREAD,
    THREAD_NAME,
    Conversations,
    Forest,
    Place,
    ThreadSummary,
    Turn,
    check_thread_name,
    fingerprint_of,
    is_thread_name,
)
