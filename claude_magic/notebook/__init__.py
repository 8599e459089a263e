"""The magics, and loading them into IPython. The rest of the package is imported at first use."""

from ._extension import connect, load, unload
