"""The front-end extension: its size, its list of options, and its installation by the wheel and `make lab`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import claude_magic
from claude_magic.notebook._options import OPTION_SPECS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "claude_magic" / "labextension"
FILES = {path.relative_to(FOLDER).as_posix(): path for path in FOLDER.rglob("*") if path.is_file()}
PACKAGE = json.loads(FILES["package.json"].read_text(encoding="utf-8"))
SCRIPT = FILES[PACKAGE["jupyterlab"]["_build"]["load"]].read_text(encoding="utf-8")
INSTALLED = "share/jupyter/labextensions/claude-magic"


def _words(name: str) -> list[str]:
    """Return the words of a list in the script, which is a string split at spaces."""
    match = re.search(rf'const {name} = \(?(.*?)\)?\.split\(" "\);', SCRIPT, re.DOTALL)
    assert match is not None
    return "".join(re.findall(r'"(.*?)"', match[1])).split()


def test_it_is_small() -> None:
    """Below 10 kB in total: one script without a build step."""
    assert sum(path.stat().st_size for path in FILES.values()) < 10_000


def test_its_options_are_those_of_the_table() -> None:
    """In the order of the table, plus `--`, which ends the options."""
    flags = [name for spec in OPTION_SPECS if spec.is_flag for name in spec.names]
    valued = [name for spec in OPTION_SPECS if not spec.is_flag for name in spec.names]

    assert _words("FLAGS") == ["--", *flags]
    assert _words("VALUED") == valued


def test_its_version_is_that_of_the_package() -> None:
    """The front end shows it."""
    assert PACKAGE["version"] == claude_magic.__version__


def test_its_setting_is_on_where_nothing_is_set() -> None:
    """A front end without a setting registry behaves as with the default."""
    (schema,) = (path for name, path in FILES.items() if name.startswith(PACKAGE["jupyterlab"]["schemaDir"]))
    plugin = f"{PACKAGE['name']}:{schema.stem}"

    assert json.loads(schema.read_text(encoding="utf-8"))["properties"]["prose"]["default"] is True
    assert SCRIPT.count(f'"{plugin}"') == 2


def test_the_wheel_carries_it_once(tmp_path: Path) -> None:
    """As data that `pip install` copies to Jupyter's folder and `pip uninstall` removes; not in the package as well."""
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="The wheel is not built: no hatchling.")

    (built,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])

    with zipfile.ZipFile(built) as archive:
        names = [name for name in archive.namelist() if "labextension" in name]
        data = f"{Path(built).name.removesuffix('-py3-none-any.whl')}.data/data/{INSTALLED}"
        assert sorted(names) == sorted(f"{data}/{name}" for name in FILES)
        assert all(archive.read(f"{data}/{name}") == path.read_bytes() for name, path in FILES.items())


@pytest.mark.skipif(shutil.which("make") is None, reason="There is no make here.")
def test_make_lab_passes_options_on_and_says_so() -> None:
    """For example a free port and no browser, as on a server; `make help` and CONTRIBUTING mention it."""
    options = "--port 8899 --no-browser"

    # `-o` treats the installation as up to date: its rule is not tested here.
    dry = ["make", "-n", "-o", ".venv/.installed", "lab", f"LAB_ARGS={options}", f"PYTHON={sys.executable}"]
    run = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True)
    printed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)

    (started,) = [line for line in run.stdout.splitlines() if "jupyter lab" in line]
    assert started.endswith(options)
    for text in (printed.stdout, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        assert f'LAB_ARGS="{options}"' in text


def test_make_lab_puts_it_where_jupyter_finds_it(tmp_path: Path) -> None:
    """The Makefile's step, run twice: files of an earlier version are removed, and this checkout is not changed."""
    stale = tmp_path / "labextensions" / "claude-magic" / "static" / "stale.js"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    step = "tests/browser/copy_labextension.py"
    rules = (ROOT / "Makefile").read_text(encoding="utf-8").split("\n\n")
    for target in ("$(INSTALLED):", "lab:"):
        assert any(f"\n{target}" in f"\n{rule}" and f"$(BIN)/python {step}" in rule for rule in rules), target

    for _ in range(2):
        subprocess.run([sys.executable, ROOT / step, tmp_path], check=True)
    folder = tmp_path / "labextensions" / "claude-magic"

    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(FILES)
    assert not any(path.is_symlink() for path in (folder, *folder.rglob("*")))
    environment = {**os.environ, "JUPYTER_DATA_DIR": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "jupyterlab.labextensions", "list"]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert re.search(
        rf"claude-magic v{claude_magic.__version__} .*enabled.*OK", listed.stdout + listed.stderr
    )
