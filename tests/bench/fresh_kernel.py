"""A kernel process with folders and an environment of its own, and access to its messages."""

from __future__ import annotations

import contextlib
import os
import queue
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

TIMEOUT = 60.0
KEY = "sk-ant-bench"
Message = dict[str, Any]


class FreshKernel:
    """A running kernel.

    Attributes:
        manager: The kernel manager, for interrupts.
    """

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self._client = client

    def start(self, code: str) -> str:
        """Send a cell and return the message id of the request."""
        return str(self._client.execute(code, stop_on_error=False))

    def wait_for(self, request: str, condition: Callable[[Message], bool]) -> Message:
        """Return the first iopub message of the request that meets the condition.

        Raises:
            TimeoutError: No such message arrived within 60 seconds.
        """
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                message = self._client.get_iopub_msg(timeout=1)
                if message["parent_header"].get("msg_id") == request and condition(message):
                    return message
        raise TimeoutError(f"The kernel published no such message within {TIMEOUT:g} s.")

    def reply_to(self, request: str) -> dict[str, Any]:
        """Return the content of the reply to the request."""
        while True:
            message = self._client.get_shell_msg(timeout=TIMEOUT)
            if message["parent_header"].get("msg_id") == request:
                return dict(message["content"])

    def run(self, code: str) -> dict[str, Any]:
        """Run a cell to its end and return the content of its reply."""
        request = self.start(code)
        self.wait_for(request, is_idle)
        return self.reply_to(request)

    def value(self, expression: str) -> str:
        """Return the repr of an expression in the user's namespace."""
        request = self._client.execute("", silent=True, user_expressions={"value": expression})
        return str(self.reply_to(request)["user_expressions"]["value"]["data"]["text/plain"])


def is_idle(message: Message) -> bool:
    """Return whether a message reports that the kernel is idle."""
    return bool(message["msg_type"] == "status" and message["content"]["execution_state"] == "idle")


def html_of(message: Message) -> str:
    """Return the HTML of a display message; empty for any other message."""
    shown = message["msg_type"] in ("display_data", "update_display_data")
    return str(message["content"]["data"].get("text/html", "")) if shown else ""


@contextlib.contextmanager
def fresh_kernel(base_url: str) -> Iterator[FreshKernel]:
    """Run a kernel that sends its requests to `base_url`, for the duration of the block."""
    with tempfile.TemporaryDirectory() as folder:
        own = {
            "HOME": folder,
            "IPYTHONDIR": folder,
            "JUPYTER_RUNTIME_DIR": folder,
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": base_url,
            "CLAUDE_MAGIC_RATE_LIMIT_RPS": "1000",
        }
        manager = KernelManager(kernel_name="python3", connection_file=str(Path(folder) / "kernel.json"))
        manager.start_kernel(env={**os.environ, **own}, cwd=folder)
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=TIMEOUT)
            yield FreshKernel(manager, client)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            manager.cleanup_resources()
