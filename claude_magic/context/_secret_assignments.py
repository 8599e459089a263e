"""Secrets that are known by the name they are given to: `password = "…"`, `api_key: …`, `SMTP_PASS=…`, in code, JSON, YAML, TOML, INI, shells.

Code and prose about keys and tokens stay readable, so what is no literal is no secret: a call, a dotted name, a placeholder. How
much a value must look like a secret depends on its name: nearly anything is one behind `password`, little behind `key`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_LONGEST: Final = 2_000
_LOOK: Final = 300
"""Characters of a value without quotes that are judged. Another name may stand in it, and begin the next."""
_REST = re.compile(r"""[^\s"',;(){}\[\]\\]*+""")
_LONGEST_NAME: Final = 24
_NAME: Final = r"""(?P<name> pass(?:word|wd|wort|phrase|code)? | pwd | secret | key | token | kennwort | contrase[nñ]a | mot_?de_?passe
    | senha | пароль | 密码 | 密碼 | パスワード | 비밀번호 )"""
# `name = `, `"name": `, `name: str = `, `os.environ["NAME"] = `, `name == `, and all that in a text which is quoted once more.
_ASSIGNED: Final = r"""\\{0,3} ["']? \]? [ \t]{0,3} (?: :[ \t]{0,9} \w [\w.\[\] |]{0,40}+ = (?!=) | [=:]{1,2} >? ) [ \t]{0,3}"""
_VALUE: Final = rf"""(?:
      [bruf]{{0,2}} (?:"{{3}}|'{{3}}) (?P<triple>[^"'\s]{{4,{_LONGEST}}}+)
    | [bruf]{{0,2}} "(?P<double>(?:[^"\\\n]|\\[^\n]){{4,{_LONGEST}}}+) (?:"|\Z)
    | [bruf]{{0,2}} '(?P<single>(?:[^'\\\n]|\\[^\n]){{4,{_LONGEST}}}+) (?:'|\Z)
    | \\{{1,3}}["'] (?P<escaped>[^"'\\\n]{{4,{_LONGEST}}}+)
    | [|>][+-]?[ \t]{{0,9}}\n[ \t]{{1,40}} (?P<block>[^\s].{{3,500}})
    | (?P<bare>[^\s"',;(){{}}\[\]\\]{{4,{_LOOK}}}+) (?![(\[])
    )"""
_ASSIGNMENT = re.compile(f"(?ix) {_NAME} {_ASSIGNED} (?= {_VALUE} )")

_PASSWORD_OF = re.compile(
    r"""(?ix)(?: admin | api | app | auth | basic | bot | db | e?mail | ftp | https? | imap | ldap | login | mongo | my | mysql | pg | pop3?
    | postgres | proxy | rabbitmq | redis | root | service | sftp | smtp | ssh | sudo | svc | test | user | vpn | wifi )[ _.-]?$"""
)
"""In front of `pass`, which is a word of its own: `first_pass` is no password."""
_KEY_OF = re.compile(
    r"""(?ix)(?: access | account | admin | api | app | auth | client | consumer | deploy | encryption | fernet | hmac | jwt | license
    | master | private | secret | service | session | shared | signing | ssh | storage | subscription | webhook )[ _-]?$"""
)
_TOKEN_OF = re.compile(r"(?i)(?:access|api|auth|bot|id|refresh|session)[_-]?$")
_CAPITALS = re.compile(r"[A-Z0-9]_$")

_REFERENCE = re.compile(
    r"""(?xi) \$[({A-Z].* | \{.* | <[\w .-]{1,60}>.* | <\|.* | %[(s].* | \*+ | [x.…]+ | .*x{3,} | .*\.{3} | .*…
    | (?:change_?me|your[ _-]|redacted|placeholder|example|dummy).* | \[REDACTED\].* | [a-z_][\w.]*[(\[].*"""
)
"""What stands for a secret: a variable, a placeholder, a call."""
_DOTTED = re.compile(r"(?i)[a-z_]\w*(?:\.[a-z_]\w*)+")
_SENTENCE = re.compile(
    r"""(?ix)\b(?: characters | confirm | default | description | enter | field | forgot | incorrect | invalid | minimum | missing | must
    | needed | optional | passphrase | passwort | passwords? | please | required | reset | secret | should | wrong | your )\b"""
)
_TOKEN_TEXT = re.compile(r"(?=.{0,200}?\d)(?=.{0,200}?[A-Za-z])[\w+/.~=-]{16,}")

_ANNOTATION: Final = r"(?:[\w.\[\],|]{1,60}[ ]=|(?:str|bytes|int|float|bool|list|dict|object|[A-Z]\w{2,30})$)"
_SETTING = re.compile(
    rf"""(?xm)^[ \t]{{0,16}} (?:\#[ ]?)? (?:(?:export|set|setx|env|ENV|ARG|-)[ ]{{1,4}}|\$env:)? ["']?
    (?P<name>[A-Z][A-Z0-9_]{{2,80}}) (?P<sign> = | :[ ] (?!{_ANNOTATION}) ) (?P<value>[^\s].{{0,4000}}?) [ \t]{{0,9}} (?:\\[nr].*)? \r?$"""
)
SECRET_NAME = re.compile(
    r"""(?ix) (?: (?:^|_) (?:KEY|PWD|PASS) | API_?KEY | TOKEN | SECRET | PASSWORD | PASSWD | PASSPHRASE | CREDENTIAL )
    S? \d* (?:_|$)"""
)
"""In the name of an environment variable that holds one."""
WORKING_DIRECTORIES = ("PWD", "OLDPWD")
_HARMLESS_ENDING = re.compile(
    r"""(?ix)_(?: ALG(?:ORITHM)? | AUDIENCE | COUNT | DIR | EXPIR\w+ | FIELDS? | FILE | HASHERS? | HEADER | ID | ISSUER | LEN(?:GTH)? | LIMIT
    | MAX | MIN | NAME | PATH | POLICY | PREFIX | REGION | SIZE | TIMEOUT | TTL | TYPE | UR[IL] | USER | VALIDATORS? | VERSION )$"""
)
_TRIVIAL = re.compile(r"(?i)true|false|yes|no|on|off|none|null|-?[\d.,_]+|[a-z]:\\.*|https?://[^@]*")
_LOWER_DOTTED = re.compile(r"[a-z_][a-z0-9_]*(?:\.[A-Za-z_]\w*)+")
_BARE_KEY = re.compile(
    r"(?i)(?!.{0,80}(?:API|ACCESS|SECRET|PRIVATE|ENCRYPTION|SIGNING|ACCOUNT|AUTH|TOKEN|PASS|PWD|CREDENTIAL)).*(?:^|_)KEYS?\d*"
)
"""A name in which nothing but KEY says that it is secret: `SORT_KEY` is a key, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSecret:
    """A secret in a text: where, and what it is in words."""

    start: int
    end: int
    label: str


def find_assignments(text: str) -> Iterator[FoundSecret]:
    """Yield the secrets that a text gives to a name, in order of their names; one may lie in another."""
    place = 0
    while (match := _ASSIGNMENT.search(text, place)) is not None:
        kind, place = match.lastgroup or "bare", match.end()
        before = text[max(0, match.start() - _LONGEST_NAME) : match.start()]
        label = _judge(match["name"], before, match[kind], kind, is_quoted=text[match.end("name")] in "\"'\\")
        if label:
            start, place = match.span(kind)
            if kind == "bare" and place - start == _LOOK and (rest := _REST.match(text, place)) is not None:
                place = rest.end()
            yield FoundSecret(start=start, end=place, label=label)
    for match in _SETTING.finditer(text):
        if match["sign"] != "=" and "_" not in match["name"]:  # `PASS: tests/test_1.py`
            continue
        if is_secret_setting(match["name"], match["value"].strip("\"'")):
            start, end = match.span("value")
            yield FoundSecret(start=start, end=end, label=f"the value of {match['name']}")


def is_trivial(name: str, value: str) -> bool:
    """Say whether a value is none that anybody hides: a switch, a number, an address, or a word of its own name."""
    return (
        _TRIVIAL.fullmatch(value) is not None or value.lower() in name.lower()
    )  # POSTGRES_PASSWORD=postgres


def _judge(name: str, before: str, value: str, kind: str, *, is_quoted: bool) -> str:
    """Return what a value is by its name, or nothing if it is no secret.

    Args:
        name: The end of the name: `password`, `key` …
        before: What stands in front of that.
        value: What is given to it.
        kind: How it is written.
        is_quoted: The name stands in quotation marks.
    """
    if _REFERENCE.fullmatch(value):
        return ""
    word = name.lower()
    if word == "pass" and not _PASSWORD_OF.search(before):
        if before[-1:].isalnum() or before[-1:] in ("_", "-", ".") or kind == "bare":
            return ""
        word = "password" if is_quoted else "secret"  # which has no blanks
    if word in ("key", "token"):
        if not (_KEY_OF if word == "key" else _TOKEN_OF).search(before):
            is_weak = word == "token" or (name.isupper() and _CAPITALS.search(before))
            is_secret = (
                is_weak and _TOKEN_TEXT.fullmatch(value) and not (kind == "bare" and _DOTTED.fullmatch(value))
            )
            return "a token" if is_secret else ""
        word = "secret"
    return "a password" if _is_password(value, kind, may_have_blanks=word != "secret") else ""


def _is_password(value: str, kind: str, *, may_have_blanks: bool) -> bool:
    if kind == "bare":
        if _DOTTED.fullmatch(value):
            return False
        if may_have_blanks and len(value) >= 6 and re.search(r"[\d!@#^]", value):
            return True
        return len(value) >= 8 and re.search(r"\d", value) is not None
    if len(value) < 6:
        return False
    if re.search(r"\s", value) is None:
        return True
    return may_have_blanks and len(value) <= 200 and not _SENTENCE.search(value)


def is_secret_setting(name: str, value: str) -> bool:
    """Say whether a line such as `NAME=value` sets a secret, by its name and what it is no placeholder for."""
    if not SECRET_NAME.search(name) or _HARMLESS_ENDING.search(name) or name in WORKING_DIRECTORIES:
        return False
    is_bare_key = _BARE_KEY.fullmatch(name) is not None
    if len(value) < (16 if is_bare_key else 4) or (is_bare_key and not re.search(r"\d", value)):
        return False
    return not (
        value.startswith("$")
        or _REFERENCE.fullmatch(value)
        or _LOWER_DOTTED.fullmatch(value)
        or is_trivial(name, value)
    )
