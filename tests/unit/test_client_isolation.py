"""The client works anywhere: it needs no notebook, has no global state, and prints nothing."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run_script(script: str) -> str:
    """Run a script in a separate interpreter, and return its output."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_c4_the_client_imports_where_notebook_packages_do_not_exist() -> None:
    """Promise: IPython, ipywidgets and traitlets are not needed, nor other packages of claude_magic."""
    output = run_script(
        """
        import sys

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {"IPython", "ipywidgets", "traitlets", "ipykernel", "nh3", "markdown_it"}:
                    raise ImportError(f"{name} is not there")

        sys.meta_path.insert(0, Refuse())
        import claude_magic.client
        packages = {name.split(".")[1] for name in sys.modules if name.startswith("claude_magic.")}
        print(sorted(name for name in packages if not name.startswith("_")))
        """
    )

    assert output.strip() == "['client']"


def test_c4_only_the_transport_imports_the_http_library() -> None:
    """Promise: only one file contains the HTTP library's name."""
    output = run_script(
        """
        import pathlib, claude_magic.client
        folder = pathlib.Path(claude_magic.client.__file__).parent
        print([path.name for path in folder.glob("*.py") if "import httpx2" in path.read_text("utf-8")])
        """
    )

    assert output.strip() == "['_transport.py']"


def test_o1_a_script_that_sets_up_no_logging_stays_quiet() -> None:
    """Promise: failed attempts print nothing, and an open client does not complain at exit."""
    output = run_script(
        """
        import asyncio
        from claude_magic.client import ClientConfig, HTTPClaudeClient, NetworkError

        async def main():
            client = HTTPClaudeClient(ClientConfig(base_url="http://127.0.0.1:9", max_retries=0))
            try:
                await client.list_models()
            except NetworkError:
                pass

        asyncio.run(main())
        """
    )

    assert output == ""
