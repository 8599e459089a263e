"""Widgets for Claude next to the cells: prompt panels and the limits gauge. Importing this package imports ipywidgets."""

from __future__ import annotations

from ._gauge import LimitsGauge, shown_gauge
from ._panel import PromptPanel
