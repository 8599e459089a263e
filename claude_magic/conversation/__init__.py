"""Conversations: a tree of turns, keyed by the cells that asked. Plain data, and a file to keep it in."""

from ._saving import load_forest, save_forest
from ._tree import (
    Cleared,
    Conversations,
    Forest,
    Place,
    Thread,
    ThreadSummary,
    Turn,
    fingerprint,
)
