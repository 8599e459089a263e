"""Claude in Jupyter: `%%claude` cells whose answers stream, can be stopped, and are never lost.

`%load_ext claude_magic` registers the magics; `from claude_magic import claude` provides the same for plain Python. Importing
this package loads nothing else: each public name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .api import AskOptions, Claude, MapOptions, MapperOptions, PanelOptions, claude
    from .bulk import JournalError, Mapper, MapRun, MapStoppedError
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
    from .runtime import CassetteError, NotRecordedError, Phase, Reply, ReplySnapshot

__all__ = [
    "APIError",
    "AskOptions",
    "BillingError",
    "CassetteError",
    "Claude",
    "ClaudeError",
    "ConfigurationError",
    "ForbiddenError",
    "InvalidApiKeyError",
    "InvalidRequestError",
    "JournalError",
    "LimitsGauge",
    "MapOptions",
    "MapRun",
    "MapStoppedError",
    "Mapper",
    "MapperOptions",
    "NetworkError",
    "NotFoundError",
    "NotRecordedError",
    "OverloadedError",
    "PanelOptions",
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
    ".api": ("AskOptions", "Claude", "MapOptions", "MapperOptions", "PanelOptions", "claude"),
    ".bulk": ("JournalError", "MapRun", "MapStoppedError", "Mapper"),
    ".panels": ("LimitsGauge", "PromptPanel"),
    ".runtime": ("CassetteError", "NotRecordedError", "Phase", "Reply", "ReplySnapshot"),
}
_PACKAGE_OF = {name: package for package, names in _PACKAGES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PACKAGE_OF.get(name, ".client"), __name__), name)
    globals()[name] = value  # later look-ups skip this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics, and bind `claude` unless that name is taken: `%load_ext claude_magic`."""
    notebook, api = (importlib.import_module(name, __name__) for name in (".notebook", ".api"))
    # A separate instance (it has no state), so that unloading can tell our binding from one that the user imported.
    notebook.load(shell, api.Claude())


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Remove the magics and `claude`, and close the client and its thread: `%unload_ext claude_magic`."""
    notebook = importlib.import_module(".notebook", __name__)
    notebook.unload(shell)
