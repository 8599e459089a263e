"""Typical answers of models for the tests of this folder, with every construct, and those that are easily split
wrongly."""

from __future__ import annotations

from typing import Final

CONSTRUCTS: Final = {
    "heading and prose": "# Title\n\nSome *text* with **bold**, `code`, ~~gone~~ and a [link](https://example.org).\n",
    "setext heading": "Title\n=====\n\nunder it\n\nOther\n---\n\nmore\n",
    "tight list": "- one\n- two\n  - nested\n- three\n\nafter\n",
    "loose list": "1. one\n\n   more of one\n\n2. two\n\n\n3. three\n\nafter\n",
    "list with code": "- run\n\n  ```bash\n  ls\n\n  cd\n  ```\n\n- done\n\nafter\n",
    "task list": "- [ ] open\n- [x] done\n",
    "fence": "```python\ndef f():\n\n    return '- no list'\n```\n\nafter\n",
    "fence in a longer fence": "````md\n```py\nx\n```\n\n````\n\nafter\n",
    "tilde fence": "~~~\n```\n~~~\n\nafter\n",
    "fence after prose": "Like this:\n```\ncode\n```\nand on.\n",
    "unclosed fence": "```python\nx = 1\n\ny = 2\n",
    "indented code": "para\n\n    code\n\n    more code\n\nafter\n",
    "quote with lazy line": "> quoted\nlazy\n\n> > deeper\n> back\n\nafter\n",
    "table": "| a | b |\n|:--|--:|\n| 1 | `x|y` |\n| 2 | $z$ |\n\nafter\n",
    "table after prose": "Look:\n| a |\n|---|\n| 1 |\nafter\n",
    "rule": "one\n\n---\n\ntwo\n***\nthree\n",
    "definition": "See [it][1] and [2].\n\n[1]: https://example.org/1\n[2]: https://example.org/2 'two'\n\nafter [1]\n",
    "display math": "Then\n\n$$\na\n= b\n- c\n$$\n\nafter\n",
    "display math in prose": "Then $$a^2$$ and\n$$b$$\nafter\n",
    "bracket math": "So \\(x\\) and\n\n\\[\nx = 1\n\\]\n\nafter\n",
    "environment": "\\begin{align}\na &= b \\\\\n# c\n\\end{align}\n\nafter\n",
    "unclosed math": "$$\na\n- b\n\nafter\n",
    "money": "It costs $5, then $10.\n\nAnd $3-$4 in $HOME.\n",
    "hard breaks": "one  \ntwo\\\nthree<br>four\n",
    "line ends": "one\r\n\r\n- two\r\n- three\r\n\r\nfour\rfive\n",
    "odd separators": "one\u2028two\x0bthree\x0cfour\u0085five\n\nsix\n",
    "blank lines only": "\n\n \n\n",
}
ANSWER: Final = "\n".join(CONSTRUCTS.values())
