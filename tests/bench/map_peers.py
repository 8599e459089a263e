"""Compares a map of 2,000 short rows with other libraries: same rows and server, 64 at once, journals and caches on.

Each library has an environment of its own in `.bench-peers`, created once, because they need different versions of the same packages.
The fastest of three runs counts, each in a new process and an empty folder. Environment variables: `PEER_ROWS` (2,000), and `PEERS`
(comma-separated names) for a subset.

Not included: fenic (reads only streams, and this server answers in one piece; it also needs an SDK older than 1.0), polar-llama (needs
Rust if there is no wheel), lotus (requires PyTorch), openaivec (supports only the API of another vendor).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from loopback_server import loopback_server
from measure import Figure, note, print_figures

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TARGET = ROOT / ".bench-peers"
ROWS = int(os.environ.get("PEER_ROWS", "2000"))
ROUNDS = 3
RUN_TIMEOUT = 180.0
INSTALL_TIMEOUT = 900.0
PEERS = {
    "accrue": "accrue==1.5.2",
    "chatlas": "chatlas==0.23.0",
    "inspect_ai": "inspect-ai==0.3.285",
    "curator": "bespokelabs-curator==0.1.31",
}

ALSO_INSTALLED = ("anthropic", "litellm", "tqdm", "httpx")
"""Undeclared dependencies of the libraries; litellm ships a tokenizer that some would download at each start."""


def python_of(name: str) -> Path:
    """Return the interpreter of a peer's environment; create the environment if it is missing or out of date."""
    if name not in PEERS:
        return Path(sys.executable)
    folder = TARGET / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    marker = folder / "peer.txt"
    if not marker.exists() or marker.read_text(encoding="utf-8") != PEERS[name]:
        note(f"setting up .bench-peers/{name} ...")
        venv.create(folder, with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, PEERS[name], *ALSO_INSTALLED], check=True, timeout=INSTALL_TIMEOUT)
        marker.write_text(PEERS[name], encoding="utf-8")
    return python


def seconds_of(name: str, python: Path, url: str) -> float | None:
    """Return the duration of one map in seconds; None if it failed, which is printed."""
    with tempfile.TemporaryDirectory(prefix="claude-magic-peer-") as folder:
        environment = {
            **os.environ,
            "ANTHROPIC_API_KEY": "sk-ant-bench-0123456789",
            "ANTHROPIC_BASE_URL": url,
            "CLAUDE_MAGIC_RATE_LIMIT_RPS": "1000000",
            **dict.fromkeys(
                ("HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"), folder
            ),
            **dict.fromkeys(("TELEMETRY_ENABLED", "CURATOR_VIEWER"), "0"),
        }
        command = [python, HERE / "map_peer.py", name, str(ROWS)]
        try:
            done = subprocess.run(
                command, env=environment, cwd=folder, capture_output=True, text=True, timeout=RUN_TIMEOUT
            )
        except subprocess.TimeoutExpired:
            note(f"{name}: not done after {RUN_TIMEOUT:g} s")
            return None
    try:
        return float(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        note(f"{name}: {(done.stderr or done.stdout).strip()[-500:]}")
        return None


def measure(url: str) -> list[Figure]:
    """Run all libraries in turn, round after round, and compare each peer with claude_magic."""
    chosen = [name for name in os.environ.get("PEERS", ",".join(PEERS)).split(",") if name in PEERS]
    pythons: dict[str, Path] = {}
    for name in ("claude_magic", *chosen):
        try:
            pythons[name] = python_of(name)
        except (subprocess.SubprocessError, OSError) as error:
            note(f"{name}: cannot be installed: {error}")
    best: dict[str, float] = {}
    for number in range(ROUNDS):
        for name, python in pythons.items():
            if number and name not in best:
                continue
            note(f"round {number + 1} of {ROUNDS}: {name}")
            if (seconds := seconds_of(name, python, url)) is not None:
                best[name] = min(seconds, best.get(name, seconds))
    ours = ROWS / best.pop("claude_magic")
    return [figure_of(name, ours, ROWS / seconds) for name, seconds in best.items()]


def figure_of(name: str, ours: float, peer: float) -> Figure:
    return Figure(
        name=f"map of {ROWS:,} rows, from the first row to the result (requests/s)",
        ours=ours,
        peer=peer,
        peer_name=PEERS[name].replace("==", " "),
        target="ahead",
        reached=ours > peer,
    )


def main() -> None:
    """Measure and print."""
    with loopback_server() as server:
        print_figures(measure(f"{server}/label/0"))


if __name__ == "__main__":
    main()
