"""Claude in Jupyter: `%%claude` cells that stream, stop and never lose an answer.

`%load_ext claude_magic` gives the magics, `from claude_magic import claude` the same for plain Python. Importing this package
loads nothing else; every name below comes at first use.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .api import Claude, claude
    from .client import (
        APIError,
        BillingError,
        ClaudeError,
        ConfigurationError,
        ForbiddenError,
        InvalidApiKeyError,
        InvalidRequestError,
        NetworkError,
        NotFoundError,
        OverloadedError,
        RateLimitError,
        RequestTimeoutError,
        ServerError,
        StreamInterruptedError,
        UnknownStatusError,
    )
    from .panels import LimitsGauge, PromptPanel
    from .runtime import Phase, Reply, ReplySnapshot

__all__ = [
    "APIError",
    "BillingError",
    "Claude",
    "ClaudeError",
    "ConfigurationError",
    "ForbiddenError",
    "InvalidApiKeyError",
    "InvalidRequestError",
    "LimitsGauge",
    "NetworkError",
    "NotFoundError",
    "OverloadedError",
    "Phase",
    "PromptPanel",
    "RateLimitError",
    "Reply",
    "ReplySnapshot",
    "RequestTimeoutError",
    "ServerError",
    "StreamInterruptedError",
    "UnknownStatusError",
    "__version__",
    "claude",
    "load_ipython_extension",
    "unload_ipython_extension",
]

_PACKAGES = {
    ".api": ("Claude", "claude"),
    ".panels": ("LimitsGauge", "PromptPanel"),
    ".runtime": ("Phase", "Reply", "ReplySnapshot"),
}
_PACKAGE_OF = {name: package for package, names in _PACKAGES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PACKAGE_OF.get(name, ".client"), __name__), name)
    notebook = sys.modules.get(f"{__name__}.notebook")
    if notebook is not None and name == "claude":
        notebook.connect()  # so that `%config ClaudeMagics` counts here too
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics: `%load_ext claude_magic`."""
    notebook = importlib.import_module(".notebook", __name__)
    notebook.load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take the magics away, and end the client and its thread: `%unload_ext claude_magic`."""
    notebook = importlib.import_module(".notebook", __name__)
    notebook.unload(shell)
