"""Claude in Jupyter: `%%claude` cells that stream, stop and never lose an answer."""

__version__ = "0.1.0"
