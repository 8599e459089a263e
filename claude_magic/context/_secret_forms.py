"""How credentials are written: the forms that well-known services give their keys, and what stands beside names such as `password`.

Code and prose about keys and tokens shall stay readable, so what is no literal is no secret: a call, a dotted name, a placeholder.
Each form reads a text in time that grows with its length alone: repetitions have bounds, or give nothing back (`++`).
"""

from __future__ import annotations

import re

# Not in the middle of a word. In the repr of a text, though, `\n` may stand before it, and on a terminal a color: `\x1b[32m`.
_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=[\d;]m))"

_NAME = r"""(?: pass(?:word|wd|phrase) | pwd | secret
    | (?:api|access|account|auth|encryption|private|secret|signing|subscription)[_-]?key | (?:access|auth|bot|refresh)[_-]?token )"""
# `name = `, `"name": `, `name: str = `, `os.environ["NAME"] = `, `name == `.
_ASSIGNED = r"""["']? \]? [ \t]{0,3} (?: :[ \t]* \w [\w.\[\] |]{0,40}+ = (?!=) | [=:]{1,2} >? ) [ \t]{0,3}"""
_NO_CODE = r"(?! [a-z_]\w*+ (?:\.[a-z_]\w*+)++ (?![^\s,;:)\]}]) )"
_NO_CALL = r"(?![(\[])"
_HAS_DIGIT = r"""(?=[^\s"',;(){}\[\]]{0,200}?\d)"""


def _verbose(pattern: str) -> re.Pattern[str]:
    return re.compile(f"(?ix){pattern}")


SECRET_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "a private key",  # also one of which a cut has left the beginning or the end
        re.compile(
            r"""(?sx) -----BEGIN[ ][A-Z ]{0,40}PRIVATE[ ]KEY(?:[ ]BLOCK)?----- .*? (?:-----END[ ][A-Z ]{0,40}KEY(?:[ ]BLOCK)?-----|\Z)
            | \A [A-Za-z0-9+/=\s\\]{8,}+ -----END[ ][A-Z ]{0,40}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----"""
        ),
    ),
    ("an Anthropic API key", re.compile(_START + r"sk-ant-[\w-]{8,}")),
    ("an API key", re.compile(_START + r"sk-(?=[\w-]{0,80}?\d)[\w-]{20,}")),
    ("a GitHub token", re.compile(_START + r"(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})")),
    ("a GitLab token", re.compile(_START + r"glpat-[\w-]{16,}")),
    ("an AWS key", re.compile(_START + r"(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    ("a Google API key", re.compile(_START + r"AIza[\w-]{30,}")),
    ("a Slack token", re.compile(_START + r"xox[abeoprs]-[\w-]{10,}")),
    ("a Hugging Face token", re.compile(_START + r"hf_[A-Za-z0-9]{20,}")),
    ("a Stripe key", re.compile(_START + r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}")),
    ("a JSON web token", re.compile(_START + r"eyJ[\w-]{10,1000}+\.[\w-]{10,}+\.[\w-]*")),
    # Of these only a part is secret: the last group that matched.
    ("a bearer token", re.compile(r"(?i)\bbearer\s++(?=[\w.~+/-]{0,200}?\d)([\w.~+/-]{16,}=*)")),
    (
        "a login",
        re.compile(r"(?i)\bauthorization[\"']?\]?\s{0,3}[=:]\s{0,3}[\"']?basic\s++([a-z0-9+/]{8,}=*)"),
    ),
    (
        "a password in an address",
        re.compile(
            r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{0,100}:(?!\{\w+\}@|\$\{?\w+\}?@|<[\w ]+>@|\*+@)([^\s/@]{1,200})@"
        ),
    ),
    (
        "a password",
        _verbose(
            rf"""{_NAME} {_ASSIGNED} (?: [bruf]{{0,2}}"([^"\s]{{6,2000}}+)" | [bruf]{{0,2}}'([^'\s]{{6,2000}}+)'
            | {_HAS_DIGIT} {_NO_CODE} ([^\s"',;(){{}}\[\]]{{8,2000}}+) {_NO_CALL} )"""
        ),
    ),
    (
        "a token",  # tokens of words are called so, too: only what is long, with letters and digits
        _verbose(
            rf"""token {_ASSIGNED} [bruf]{{0,2}}["']? {_HAS_DIGIT} (?=[\w+/.~=-]{{0,200}}?[a-z]) {_NO_CODE}
            ([\w+/.~=-]{{16,}}+) {_NO_CALL}"""
        ),
    ),
)
