"""Short tracebacks: of this package, a traceback shows only the frame that the user's code called.

The package's error messages say what happened and what to do. Thirty internal frames would hide that, and the user's own line.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])

_HOME = os.path.join(os.path.dirname(__file__), "")
_STANDARD_LIBRARY = os.path.join(os.path.dirname(os.__file__), "")
_INSTALLED = ("site-packages", "dist-packages")


def short_errors(function: _Function) -> _Function:
    """Decorate a function so that tracebacks of this package's errors show one frame of the package, below the caller's.

    This applies to the client's errors, interrupts, cancellations and timeouts. Their causes are kept. An error that passed through
    user code (a mapped generator, a function that runs as a tool) keeps its full traceback, and so does a bug in this package.

    Args:
        function: A function, a coroutine function, or a generator function such as `__await__`.
    """
    wrapped: Callable[..., Any]
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapped(*args: Any, **options: Any) -> Any:
            try:
                return await function(*args, **options)
            except BaseException as error:
                if is_ours(error):
                    raise error.with_traceback(None)
                raise

    elif inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def wrapped(*args: Any, **options: Any) -> Any:
            try:
                return (yield from function(*args, **options))
            except BaseException as error:
                if is_ours(error):
                    raise error.with_traceback(None)
                raise

    else:

        @functools.wraps(function)
        def wrapped(*args: Any, **options: Any) -> Any:
            try:
                return function(*args, **options)
            except BaseException as error:
                if is_ours(error):
                    raise error.with_traceback(None)
                raise

    return wrapped  # type: ignore[return-value]


def is_ours(error: BaseException) -> bool:
    """Return whether an error needs no traceback: it is of a known kind, and no user code is in its traceback.

    If so, the tracebacks of its causes are removed too, except of causes that passed through user code.
    """
    import asyncio  # late: importing these would slow down loading the extension
    import concurrent.futures

    from .client import ClaudeError

    cancelled = (asyncio.CancelledError, concurrent.futures.CancelledError)
    if not isinstance(error, (ClaudeError, KeyboardInterrupt, TimeoutError, *cancelled)):
        return False
    if _holds_users_code(error):
        return False
    for cause in _causes(error):
        if not _holds_users_code(cause):
            cause.with_traceback(None)
    return True


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the causes and contexts of an error, which Python prints above it."""
    seen = {id(error)}
    step = error.__cause__ or error.__context__
    while step is not None and id(step) not in seen:
        seen.add(id(step))
        yield step
        step = step.__cause__ or step.__context__


def _holds_users_code(error: BaseException) -> bool:
    step = error.__traceback__
    while step is not None:
        if _is_users(step.tb_frame.f_code.co_filename):
            return True
        step = step.tb_next
    return False


def _is_users(path: str) -> bool:
    """Return whether a file or cell is user code: not this package, the standard library or an installed package."""
    if path.startswith((_HOME, _STANDARD_LIBRARY, "<frozen ")):
        return False
    return not any(f"{os.sep}{folder}{os.sep}" in path for folder in _INSTALLED)
