"""Real kernels, used as by a front end, with a simulator on a loopback socket."""

import contextlib
import os
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from claude_magic.simulator import Simulator

API_KEY = "sk-ant-test-kernel-4f1d0c7b9e"
TIMEOUT = 120.0  # only reached if something fails; a slow machine takes seconds
ATTEMPTS = 3
Message = dict[str, Any]


class Run:
    """An execution request and the messages that the kernel publishes for it.

    Args:
        kernel: The kernel.
        code: The source of the cell.
        allow_stdin: Whether the front end can ask the user for input.
        cell_id: The front end's id of the cell; None sends none.
        has_page: Whether a page has the widget of a growing answer, and reports it.
    """

    def __init__(
        self,
        kernel: "Kernel",
        code: str,
        *,
        allow_stdin: bool = False,
        cell_id: str | None = None,
        has_page: bool = False,
    ) -> None:
        self.started = time.monotonic()
        self.messages: list[Message] = []
        self.reply: Message | None = None
        self._kernel = kernel
        self._has_page = has_page
        self._not_listening: set[str] = set()
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        content |= {"allow_stdin": allow_stdin, "stop_on_error": False}
        message = kernel.client.session.msg("execute_request", content)
        if cell_id is not None:  # as JupyterLab, Notebook 7 and VS Code send it
            message["metadata"]["cellId"] = cell_id
        kernel.client.shell_channel.send(message)
        self.msg_id = message["header"]["msg_id"]

    def until(self, condition: Callable[["Run"], bool], timeout: float = TIMEOUT) -> "Run":
        """Read published messages until the condition holds."""
        deadline = time.monotonic() + timeout
        while not condition(self):
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(
                    f"The condition did not come true within {timeout} s. Published: {self.summary()}"
                )
            try:
                self._kernel.route(self._kernel.client.get_iopub_msg(timeout=min(left, 0.5)))
            except queue.Empty:
                # Repeated, as by a page, because the kernel may not have been ready.
                self._tell_of_page()
            self._receive(self._kernel.take(self.msg_id))
        return self

    def _receive(self, messages: list[Message]) -> None:
        self.messages.extend(messages)
        for message in messages:
            comm, data = message["content"].get("comm_id"), message["content"].get("data", {})
            if message["msg_type"] == "comm_open" and "can_stop" in data["state"] and self._has_page:
                self._not_listening.add(comm)
                self._tell_of_page()
            elif data.get("content") == {"do": "listen"}:
                self._not_listening.discard(comm)

    def _tell_of_page(self) -> None:
        for comm in self._not_listening:
            self._kernel.tell(comm, {"do": "listen"})

    @property
    def view(self) -> str | None:
        """The comm of the widget of the growing answer, once a display shows it."""
        for content in self.contents("update_display_data"):
            shown = content["data"].get("application/vnd.jupyter.widget-view+json")
            if shown is not None:
                return str(shown["model_id"])
        return None

    @property
    def ended_views(self) -> set[str]:
        """The comms of the widgets that have reported the end of their answer."""
        sent = self.contents("comm_msg")
        return {each["comm_id"] for each in sent if each["data"].get("state", {}).get("has_ended")}

    def finish(self, timeout: float = TIMEOUT) -> "Run":
        """Wait until the kernel is idle again and has replied."""
        self.until(lambda run: run.is_idle, timeout)
        while self.reply is None:
            message = self._kernel.client.get_shell_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") == self.msg_id:
                self.reply = message
        return self

    @property
    def is_idle(self) -> bool:
        return any(
            message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
            for message in self.messages
        )

    @property
    def status(self) -> str:
        assert self.reply is not None
        return str(self.reply["content"]["status"])

    def contents(self, *kinds: str) -> list[dict[str, Any]]:
        """The contents of the messages of these types, oldest first."""
        return [message["content"] for message in self.messages if message["msg_type"] in kinds]

    @property
    def frames(self) -> list[str]:
        """The HTML of everything displayed or updated, oldest first."""
        shown = self.contents("display_data", "update_display_data")
        return [content["data"]["text/html"] for content in shown if "text/html" in content["data"]]

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The outputs in the cell's output area, as a notebook would save them."""
        area: list[dict[str, Any]] = []
        clears_first = False
        for message in self.messages:
            kind, content = message["msg_type"], message["content"]
            if kind == "clear_output":
                clears_first = content["wait"]
                if not clears_first:
                    area.clear()
            elif kind == "update_display_data":
                display_id = content["transient"]["display_id"]
                for output in area:
                    if output.get("transient", {}).get("display_id") == display_id:
                        output.update(data=content["data"], metadata=content["metadata"])
            elif kind in ("display_data", "execute_result", "stream", "error"):
                if clears_first:
                    area.clear()
                    clears_first = False
                area.append({"output_type": kind, **content})
        return area

    @property
    def error(self) -> dict[str, Any]:
        (error,) = self.contents("error")
        return error

    @property
    def stdout(self) -> str:
        return "".join(content["text"] for content in self.contents("stream") if content["name"] == "stdout")

    @property
    def stderr(self) -> str:
        return "".join(content["text"] for content in self.contents("stream") if content["name"] == "stderr")

    def summary(self) -> list[tuple[str, str]]:
        return [(message["msg_type"], str(message["content"])[:300]) for message in self.messages]


class Kernel:
    """A running kernel with one client."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient, log: Path) -> None:
        self.manager = manager
        self.client = client
        self.log = log
        self._waiting: dict[str, list[Message]] = {}
        self._run_of_display: dict[str, str] = {}

    def start(self, code: str, **kwargs: Any) -> Run:
        """Send a cell, without waiting."""
        return Run(self, code, **kwargs)

    def run(self, code: str, timeout: float = TIMEOUT, **kwargs: Any) -> Run:
        """Send a cell and wait until the kernel is idle again."""
        return self.start(code, **kwargs).finish(timeout)

    def value(self, expression: str) -> str:
        """Return the repr of an expression in the user's namespace, without changing the history or `_`."""
        request = self.client.execute(
            "", silent=True, store_history=False, user_expressions={"value": expression}
        )
        while True:
            message = self.client.get_shell_msg(timeout=TIMEOUT)
            if message["parent_header"].get("msg_id") == request:
                answer = message["content"]["user_expressions"]["value"]
                assert answer["status"] == "ok", answer
                return str(answer["data"]["text/plain"])

    def tell(self, comm: str, content: dict[str, Any]) -> None:
        """Send a message of a widget on the main shell."""
        data = {"comm_id": comm, "data": {"method": "custom", "content": content}}
        self.client.shell_channel.send(self.client.session.msg("comm_msg", data))

    def interrupt(self) -> None:
        """Press the interrupt button."""
        self.manager.interrupt_kernel()

    def route(self, message: Message) -> None:
        """Store a published message for its run; a display update for the run with that display, as front ends do."""
        run = message["parent_header"].get("msg_id", "")
        display_id = message["content"].get("transient", {}).get("display_id")
        if display_id is not None and message["msg_type"] == "update_display_data":
            run = self._run_of_display.get(display_id, run)
        elif display_id is not None:
            self._run_of_display[display_id] = run
        self._waiting.setdefault(run, []).append(message)

    def take(self, msg_id: str) -> list[Message]:
        """Return the stored messages of a run."""
        return self._waiting.pop(msg_id, [])


class Computation:
    """A cell that keeps the kernel's main thread busy until the test ends it, so that no test depends on timing.

    Attributes:
        code: The source, to be used as the last lines of a cell.
    """

    def __init__(self, signal: Path) -> None:
        self._signal = signal
        self.code = f"\nimport os\nwhile not os.path.exists({str(signal)!r}): sum(range(1_000))\n"

    def end(self) -> None:
        """Let the cell end."""
        self._signal.touch()


@pytest.fixture
def computation(tmp_path: Path) -> Iterator[Computation]:
    """See `Computation`. It ends with the test at the latest."""
    made = Computation(tmp_path / "end")
    yield made
    made.end()


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """A simulator for the module's kernels."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def start_kernel(sim: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Kernel]]:
    """Return a function that starts a kernel connected to the simulator. All kernels are shut down at the end."""
    with contextlib.ExitStack() as stack:

        def start(*, load: bool = True, **env: str) -> Kernel:
            home = tmp_path_factory.mktemp("home")
            return stack.enter_context(
                running_kernel(home, load=load, **{"ANTHROPIC_BASE_URL": sim.url} | env)
            )

        yield start


@pytest.fixture(scope="module")
def kernel(start_kernel: Callable[..., Kernel]) -> Kernel:
    """The module's kernel, with the extension loaded."""
    return start_kernel()


@pytest.fixture(autouse=True)
def _fresh_simulator(request: pytest.FixtureRequest) -> None:
    if "sim" in request.fixturenames:
        request.getfixturevalue("sim").clear()


@contextlib.contextmanager
def running_kernel(home: Path, *, load: bool = True, **env: str) -> Iterator[Kernel]:
    """Run a kernel with its own home, IPython folder and environment."""
    inherited = {
        name: os.environ[name]
        for name in ("PATH", "PYTHONPATH", "LANG", "VIRTUAL_ENV", "SYSTEMROOT")
        if name in os.environ
    }
    settings = {
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "ANTHROPIC_API_KEY": API_KEY,
        "PYTHONWARNINGS": "default",
    }
    log = home / "kernel.log"
    with log.open("wb") as output:
        manager, client = _start(home, env=inherited | settings | env, stdout=output, stderr=output)
        try:
            kernel = Kernel(manager, client, log)
            if load:
                assert kernel.run("%load_ext claude_magic").status == "ok"
            yield kernel
        finally:
            _end(manager, client)


def _start(home: Path, **kwargs: Any) -> tuple[KernelManager, BlockingKernelClient]:
    """Start a kernel. Retry if another process has taken one of its ports between the choice and the start."""
    for attempt in range(ATTEMPTS):
        connection = home / f"kernel-{attempt}.json"
        manager = KernelManager(kernel_name="python3", connection_file=str(connection))
        manager.start_kernel(cwd=str(home), **kwargs)
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=TIMEOUT)
        except RuntimeError:  # it died
            _end(manager, client)
            if attempt == ATTEMPTS - 1:
                raise
        else:
            break
    return manager, client


def _end(manager: KernelManager, client: BlockingKernelClient) -> None:
    client.stop_channels()
    if manager.is_alive():
        manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


@pytest.fixture
def execute_notebook(
    sim: Simulator, tmp_path: Path
) -> Callable[..., tuple[list[list[dict[str, Any]]], Exception | None]]:
    """Execute cells as `jupyter nbconvert --execute` and Papermill do.

    Returns the outputs of each cell that was given, and the error of the cell that failed, if one did.
    """
    # Late, because these imports take seconds in each worker that only collects this folder.
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbformat.v4 import new_code_cell, new_notebook

    def execute(
        *sources: str, before: str = "", **variables: str
    ) -> tuple[list[list[dict[str, Any]]], Exception | None]:
        cells = [new_code_cell(source) for source in (f"{before}\n%load_ext claude_magic", *sources)]
        notebook = new_notebook(cells=cells)
        env = os.environ | {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython")}
        env |= {"ANTHROPIC_BASE_URL": sim.url, "ANTHROPIC_API_KEY": API_KEY} | variables
        client = NotebookClient(
            notebook,
            timeout=int(TIMEOUT),
            startup_timeout=int(TIMEOUT),
            kernel_name="python3",
            resources={"metadata": {"path": str(tmp_path)}},
        )
        error = None
        try:
            client.execute(env=env)
        except CellExecutionError as failed:
            error = failed
        return [cell.outputs for cell in notebook.cells[1:]], error

    return execute
