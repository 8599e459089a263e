"""Runs every bench of this folder (`make bench`) and prints one table.

The benches of the client run in `.bench-venv`, which is created once and contains the peers. Benches that need a kernel or a
browser run in the environment of this script.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from measure import Figure

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TARGET = ROOT / ".bench-venv"
PEERS_PYTHON = TARGET / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
PEERS = ("anthropic>=2", "httpx-sse", "httpx", "aiolimiter", "httpx2[brotli]", "pydantic", "h11", "orjson")
COLUMNS = ("figure", "claude_magic", "peer", "ratio", "target", "reached")
TIMEOUT = 1800.0


@dataclass(frozen=True, slots=True)
class Bench:
    """A script that prints figures.

    Attributes:
        name: Name of the script, without its extension.
        needs_peers: Whether it runs in the environment of the peers.
        is_named_only: Whether it runs only if `--only` names it.
    """

    name: str
    needs_peers: bool = False
    is_named_only: bool = False


BENCHES = (
    Bench("stream_cpu", needs_peers=True),
    Bench("stream_writes", needs_peers=True),
    Bench("first_delta", needs_peers=True),
    Bench("small_request", needs_peers=True),
    Bench("bucket", needs_peers=True),
    Bench("redis_bucket"),
    Bench("map_rows"),
    # Installs more than a gigabyte.
    Bench("map_peers", is_named_only=True),
    Bench("cassette"),
    Bench("load_ext"),
    Bench("describe_frame"),
    Bench("long_thread"),
    Bench("first_cell"),
    Bench("lab_stream"),
    Bench("lab_panel"),
    Bench("lab_compare"),
    Bench("lab_prompt"),
    Bench("interrupt"),
)


def main() -> int:
    """Run the chosen benches; return 0 if every bench ran and reached its targets."""
    names = [bench.name for bench in BENCHES]
    parser = argparse.ArgumentParser(description="Run the benches and compare with other libraries.")
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}"
    )
    chosen = parser.parse_args().only or [bench.name for bench in BENCHES if not bench.is_named_only]
    print(describe_machine())
    rows: list[tuple[str, ...]] = []
    has_failed = False
    for bench in (bench for bench in BENCHES if bench.name in chosen):
        print(f"  {bench.name} ...", file=sys.stderr, flush=True)
        figures = run_bench(bench)
        has_failed |= not figures or any(figure.reached is False for figure in figures)
        rows += [row_of(figure) for figure in figures] or [(f"{bench.name}: did not run", *[""] * 4, "NO")]
    print_table(rows)
    return int(has_failed)


def run_bench(bench: Bench) -> list[Figure]:
    """Run one bench in its environment and return its figures; none if it failed, with its own error message."""
    python = peers_python() if bench.needs_peers else Path(sys.executable)
    process = subprocess.Popen(
        [python, HERE / f"{bench.name}.py"],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=clean_env(),
    )
    try:
        printed, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return []
    if process.returncode != 0:
        return []
    return [Figure(**values) for values in json.loads(printed.splitlines()[-1])]


def peers_python() -> Path:
    """Return the interpreter of the peers' environment; create the environment if it is missing or out of date."""
    marker = TARGET / "peers.txt"
    wanted = "\n".join(PEERS)
    if not marker.exists() or marker.read_text(encoding="utf-8") != wanted:
        print("  setting up .bench-venv ...", file=sys.stderr, flush=True)
        venv.create(TARGET, with_pip=True, clear=True)
        install = [PEERS_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *PEERS, "--editable", ROOT], check=True)
        marker.write_text(wanted, encoding="utf-8")
    return PEERS_PYTHON


def clean_env() -> dict[str, str]:
    """Return the environment without settings and keys of the user."""
    ours = ("ANTHROPIC_", "CLAUDE_MAGIC_", "JUPYTER", "IPYTHON")
    env = {name: value for name, value in os.environ.items() if not name.upper().startswith(ours)}
    return {**env, "PYTHONUTF8": "1"}


def describe_machine() -> str:
    """Return a description of the machine."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def row_of(figure: Figure) -> tuple[str, ...]:
    """Return the table row of a figure."""
    peer = f"{number(figure.peer)} ({figure.peer_name})" if figure.peer is not None else ""
    ratio = f"{figure.ratio:.2f}" if figure.ratio is not None else ""
    verdict = {True: "yes", False: "NO", None: ""}[figure.reached]
    return figure.name, number(figure.ours), peer, ratio, figure.target, verdict


def number(value: float) -> str:
    """Format a number with three significant digits, or as an integer from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print an aligned Markdown table."""
    widths = [max(len(row[index]) for row in (COLUMNS, *rows)) for index in range(len(COLUMNS))]
    for row in (COLUMNS, tuple("-" * width for width in widths), *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")


if __name__ == "__main__":
    sys.exit(main())
