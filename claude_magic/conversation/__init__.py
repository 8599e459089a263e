"""Conversations: a tree of turns, keyed by the cells that asked. Plain data."""

from ._tree import MAIN_THREAD, Conversations, fingerprint
from ._turn import Place, Turn

__all__ = ["MAIN_THREAD", "Conversations", "Place", "Turn", "fingerprint"]
