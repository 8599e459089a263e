"""Claude in ipywidgets: panels that stand beside the cells. Importing this room imports ipywidgets."""

from __future__ import annotations

from ._panel import PromptPanel

__all__ = ["PromptPanel"]
