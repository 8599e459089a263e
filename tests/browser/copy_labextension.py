"""Copy the front-end extension to Jupyter's data folder, as `pip install .` does and an editable install does not.

    python copy_labextension.py [DATA_FOLDER]     by default that of this environment

The files are copied because Jupyter does not serve links to single files, and with a link to the whole folder a later
`pip install .` or `pip uninstall` would write into this checkout.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "claude_magic" / "labextension"


def copy_labextension(data: Path) -> Path:
    """Copy the extension into a data folder of Jupyter's, in the place of an earlier version.

    Args:
        data: The folder that holds `labextensions`, such as `.venv/share/jupyter`.

    Returns:
        The extension's folder in it.
    """
    target = data / "labextensions" / "claude-magic"
    if target.is_symlink():
        target.unlink()
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(SOURCE, target))


if __name__ == "__main__":
    copy_labextension(Path(sys.argv[1]) if sys.argv[1:] else Path(sys.prefix) / "share" / "jupyter")
