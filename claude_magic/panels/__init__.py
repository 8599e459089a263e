"""Claude in ipywidgets: panels that stand beside the cells. Importing this package imports ipywidgets."""

from __future__ import annotations

from ._gauge import LimitsGauge, shown_gauge
from ._panel import PromptPanel
