"""A JupyterLab server with its own folders for settings, runtime files and notebooks, and a random port and token."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import nbformat
from copy_labextension import copy_labextension
from nbformat.sign import NotebookNotary

START_TIMEOUT = 90.0
API_KEY = "sk-ant-browser-test-5d1e9b7c"
"""This key must never appear on a page or in a file."""
_SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    # Keeps all cells in the document, so that tests can examine cells without scrolling to them.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    # Tests save explicitly.
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}
# Skips grammars for URL checks, which are not used here, and which jsonschema would compile for seconds.
_START = "import sys; sys.modules['rfc3987_syntax'] = None; from jupyterlab.labapp import main; main()"
_UNUSED = (
    # The launcher would open a tab when the last notebook is closed.
    *("launcher", "extensionmanager", "pluginmanager", "debugger", "lsp", "toc", "terminal", "console"),
    *("running", "logconsole", "inspector", "help", "hub", "workspaces", "settingeditor"),
    *("csvviewer", "htmlviewer", "imageviewer", "markdownviewer", "pdf", "audio", "video"),
)
"""Extensions of Lab that do not concern the cells of a notebook. Without them, pages load faster."""


class LabServer:
    """Runs `jupyter lab` within a `with` block.

    Args:
        folder: An empty folder for all files of the server.
        env: Environment variables for the server and its kernels, added to the cleaned environment of the tests.
        has_labextension: Whether Lab has the front-end extension of this package.
    """

    def __init__(
        self, folder: Path, env: Mapping[str, str] | None = None, *, has_labextension: bool = True
    ) -> None:
        self.root = folder / "notebooks"
        self._folder = folder
        self._env = dict(env or {})
        self._has_labextension = has_labextension
        self._token = secrets.token_hex(16)
        self._numbers = itertools.count(1)
        self._log = folder / "lab.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self.root.mkdir(parents=True)
        for name, settings in _SETTINGS.items():
            self.write_settings(name, settings)
        copy_labextension(self._folder / "data")
        disabled = {f"@jupyterlab/{name}-extension": True for name in _UNUSED}
        page_config = {"disabledExtensions": {**disabled, "claude-magic": not self._has_labextension}}
        (self._folder / "config" / "labconfig").mkdir(parents=True)
        (self._folder / "config" / "labconfig" / "page_config.json").write_text(json.dumps(page_config))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(), env=self._environment(), cwd=self.root, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self.url = self._wait_until_up()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop()

    def page_url(self, path: Path, *, place: str = "lab/tree") -> str:
        """Return the URL that opens only this notebook in Lab, or in Notebook 7 if `place` is `notebooks`."""
        return f"{self.url}/{place}/{self.name_of(path)}?token={self._token}&reset"

    def name_of(self, path: Path) -> str:
        """Return the server's path of a file in its folder."""
        return path.relative_to(self.root).as_posix()

    def folder(self, name: str, variables: Mapping[str, str]) -> NotebookFolder:
        """Create a folder for notebooks whose kernels have these additional variables.

        A number makes its name unique.
        """
        name = f"{name}-{next(self._numbers)}"
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": f"Python 3 ({name})",
            "language": "python",
            "env": dict(variables),
        }
        place = self._folder / "data" / "kernels" / name
        place.mkdir(parents=True)
        (place / "kernel.json").write_text(json.dumps(spec))
        (self.root / name).mkdir()
        return NotebookFolder(self, name)

    def write_notebook(
        self,
        name: str,
        cells: list[nbformat.NotebookNode],
        *,
        is_trusted: bool = False,
        kernel: str = "python3",
    ) -> Path:
        """Write a new notebook to the server's folder. In a trusted one, Lab shows saved HTML unsanitised.

        The file name contains a number, so that no two tests use the same name: the kernel of an earlier one may still
        be shutting down.
        """
        notebook = nbformat.v4.new_notebook(cells=cells)
        notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
        wanted = self.root / name
        path = wanted.with_stem(f"{wanted.stem}-{next(self._numbers)}")
        nbformat.write(notebook, path)
        if is_trusted:
            notary = NotebookNotary(data_dir=str(self._folder / "data"))
            notary.sign(nbformat.read(path, as_version=4))
            notary.store.close()
        return path

    def end_session(self, session: str) -> None:
        """End a notebook's session and its kernel, without waiting."""
        request = urllib.request.Request(
            f"{self.url}/api/sessions/{session}?token={self._token}", method="DELETE"
        )

        def end() -> None:
            with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=START_TIMEOUT):
                pass

        threading.Thread(target=end, daemon=True).start()

    def write_settings(self, plugin: str, settings: Mapping[str, Any]) -> None:
        """Set a plug-in's user settings for pages that are opened later."""
        path = self._settings_file(plugin)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))

    def forget_settings(self, plugin: str) -> None:
        """Reset a plug-in to its default settings."""
        self._settings_file(plugin).unlink()

    def _settings_file(self, plugin: str) -> Path:
        return self._folder / "settings" / f"{plugin}.jupyterlab-settings"

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-c", _START, "--no-browser", "--allow-root"),
            *("--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--ServerApp.root_dir={self.root}"),
            *("--LabApp.expose_app_in_browser=True", "--LabApp.news_url="),
            "--JupyterNotebookApp.expose_app_in_browser=True",
            "--ServerApp.jpserver_extensions={'jupyter_lsp': False, 'jupyter_server_terminals': False}",
        ]

    def _environment(self) -> dict[str, str]:
        ours = ("ANTHROPIC_", "CLAUDE_MAGIC_", "JUPYTER", "IPYTHON")
        env = {name: value for name, value in os.environ.items() if not name.upper().startswith(ours)}
        folders = {
            "HOME": "home",
            "IPYTHONDIR": "ipython",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            # Before that of the environment, which may contain another version of the front-end extension.
            "JUPYTER_PATH": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        }
        for variable, name in folders.items():
            folder = self._folder / name
            folder.mkdir(exist_ok=True)
            env[variable] = str(folder)
        return {**env, "JUPYTER_TOKEN": self._token, **self._env}

    def _wait_until_up(self) -> str:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            for info in (self._folder / "runtime").glob("jpserver-*.json"):
                if url := self._answering_url(info):
                    return url
            time.sleep(0.1)
        raise RuntimeError(
            f"JupyterLab did not start. Its log:\n{self._log.read_text(errors='replace')[-4000:]}"
        )

    def _answering_url(self, info: Path) -> str:
        try:
            url = str(json.loads(info.read_text())["url"]).rstrip("/")
            with urllib.request.urlopen(f"{url}/api?token={self._token}", timeout=2):
                return url
        except (OSError, ValueError):
            return ""

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()  # the server ends its kernels
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=15)


class NotebookFolder:
    """Notebooks of one server whose kernels have the same environment variables.

    Attributes:
        lab: The server.
        root: The folder of the notebooks, and the working directory of their kernels.
    """

    def __init__(self, lab: LabServer, name: str) -> None:
        self.lab = lab
        self.root = lab.root / name
        self._name = name

    def write_notebook(self, name: str, cells: list[nbformat.NotebookNode]) -> Path:
        """Write a notebook into this folder."""
        return self.lab.write_notebook(f"{self._name}/{name}", cells, kernel=self._name)
