"""What people touch in cells. Imports IPython; all else of ours comes at first use."""

from ._extension import connect, load, unload
from ._magics import ClaudeMagics
