"""Replaces apparent credentials in collected content by `[REDACTED]`.

Text that the user typed is not changed. Three kinds are recognised: the values of environment variables with names of
secrets, the known formats of credentials, and values assigned to a name such as `password`.
"""

from __future__ import annotations

import csv
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from ..client import REDACTED

# Secrets recognised by the name they are assigned to: `password = "…"`, `api_key: …`, `SMTP_PASS=…`, in code, JSON, YAML, TOML,
# INI and shell scripts.
#
# Code and prose about keys and tokens must stay readable, so only literals count: no calls, dotted names or placeholders. How much
# a value must look like a secret depends on the name: after `password` nearly every value counts, after `key` few do.
_LONGEST: Final = 2_000
_LOOK: Final = 300
"""Characters of an unquoted value that are matched. It may contain another name that begins the next match."""
_REST = re.compile(r"""[^\s"',;(){}\[\]\\]*+""")
_LONGEST_NAME: Final = 24
_NAME: Final = r"""(?P<name> pass(?:word|wd|wort|phrase|code)? | pwd | secret | key | token | kennwort | contrase[nñ]a | mot_?de_?passe
    | senha | пароль | 密码 | 密碼 | パスワード | 비밀번호 )"""
# `name = `, `"name": `, `name: str = `, `os.environ["NAME"] = `, `name == `, also with escaped quotes.
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
_FOLDED_ASSIGNMENT = re.compile(f"(?x) {_NAME} {_ASSIGNED}")
"""The first part of `_ASSIGNMENT`, for casefolded text, where it takes a third of the time."""

_PASSWORD_OF = re.compile(
    r"""(?ix)(?: admin | api | app | auth | basic | bot | db | e?mail | ftp | https? | imap | ldap | login | mongo | my | mysql | pg | pop3?
    | postgres | proxy | rabbitmq | redis | root | service | sftp | smtp | ssh | sudo | svc | test | user | vpn | wifi )[ _.-]?$"""
)
"""Words before `pass`, which is also an ordinary word: `first_pass` is not a password."""
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
"""References instead of a literal: a variable, a placeholder, a call."""
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
"""Matches the names of environment variables that hold secrets."""
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
"""Names where only KEY suggests a secret: `SORT_KEY` is one too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSecret:
    """The position of a secret in a text, and its label."""

    start: int
    end: int
    label: str


def find_assignments(text: str) -> Iterator[FoundSecret]:
    """Yield the secrets that a text assigns to names, in order of the names; they may be nested."""
    place = 0 if _FOLDED_ASSIGNMENT.search(text.casefold()) else len(text)
    while (match := _ASSIGNMENT.search(text, place)) is not None:
        kind, place = match.lastgroup or "bare", match.end()
        before = text[max(0, match.start() - _LONGEST_NAME) : match.start()]
        label = _label(match["name"], before, match[kind], kind, is_quoted=text[match.end("name")] in "\"'\\")
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
    """Return whether a value cannot be a secret: a switch, a number, a URL, or a part of its own name."""
    # A part of its own name: POSTGRES_PASSWORD=postgres.
    return _TRIVIAL.fullmatch(value) is not None or value.lower() in name.lower()


def _label(name: str, before: str, value: str, kind: str, *, is_quoted: bool) -> str:
    """Return the label of a value by its name; "" if it is not a secret.

    Args:
        name: The end of the name: `password`, `key` …
        before: The text before it.
        value: The assigned value.
        kind: The group of `_VALUE` that matched: "triple", "double", "bare" …
        is_quoted: Whether the name is in quotes.
    """
    if _REFERENCE.fullmatch(value):
        return ""
    word = name.lower()
    if word == "pass" and not _PASSWORD_OF.search(before):
        if before[-1:].isalnum() or before[-1:] in ("_", "-", ".") or kind == "bare":
            return ""
        word = "password" if is_quoted else "secret"  # a secret has no blanks
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
    """Return whether a line such as `NAME=value` sets a secret, by its name, and because its value is not a placeholder."""
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


# Formats of credentials: the keys of well-known services, and passwords in protocols and files.
#
# Each pattern runs in linear time: repetitions are bounded or possessive (`++`). The formats of keys are those that the services
# publish for secret scanners.

# Not inside a word, but possibly after `\n` in the repr of a string, or after a terminal color: `\x1b[32m`.
_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=[\d;]m))"

_TOKENS: Final[Mapping[str, str]] = {
    "an Anthropic API key": r"sk-ant-[\w-]{8,}",
    "an API key": r"sk[-_](?=[\w-]{0,80}?\d)[\w-]{20,}"  # OpenAI, OpenRouter, DeepSeek, ElevenLabs and others
    r"|(?:gsk_|xai-|pplx-|nvapi-|r8_|tvly-|pcsk_|fw_|csk-|jina_|sess-)(?=[\w-]{0,80}?\d)[\w-]{20,}"
    r"|lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}|wandb_v1_\w{20,}",
    "a GitHub token": r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}",
    "a GitLab token": r"gl(?:pat|dt|rt|rtr|cbt|ptt|ft|soat|agent|oas|imt|ffct)-[\w-]{16,}",
    "an AWS key": r"(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{16}\b|ABSK[A-Za-z0-9+/]{60,}=*",
    "a Google API key": r"AIza[\w-]{30,}|GOCSPX-[\w-]{20,}|ya29\.[\w-]{20,}|1//0[\w-]{30,}",
    "an Azure secret": r"[A-Za-z0-9_~.]{3}\dQ~[\w~.-]{31,34}",
    "a Slack token": r"xox[abceoprs]-[\w-]{10,}|xoxe\.xox[bp]-[\w-]{10,}|xapp-\d-[\w-]{10,}",
    "a Discord token": r"[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,40}|mfa\.[\w-]{60,}",
    "a Telegram token": r"\d{8,10}:AA[\w-]{30,}",
    "a Hugging Face token": r"hf_[A-Za-z0-9]{20,}|api_org_[A-Za-z]{30,}",
    "a Stripe key": r"[rs]k_(?:live|test|prod)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/]{20,}=*",
    "a Square token": r"sq0(?:atp|csp|idp)-[\w-]{20,}|EAAA[\w-]{56,}",
    "a Shopify token": r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    "a Twilio key": r"(?:SK|AC)[0-9a-f]{32}\b",
    "a SendGrid key": r"SG\.[\w-]{16,200}+\.[\w-]{16,}",
    "a mail service's key": r"key-[0-9a-f]{32}\b|[0-9a-f]{32}-us\d{1,2}\b|xkeysib-[0-9a-f]{40,}[\w-]*|re_[A-Za-z0-9]{8,}_[A-Za-z0-9]{16,}",
    "a PyPI token": r"pypi-[\w-]{16,}",
    "an npm token": r"npm_[A-Za-z0-9]{30,}",
    "a package registry's token": r"rubygems_[0-9a-f]{40,}|cio[A-Za-z0-9]{32}\b|oy2[a-z0-9]{43}\b|dckr_[po]at_[\w-]{20,}"
    r"|CLOJARS_[a-z0-9]{60}|AKCp[A-Za-z0-9]{60,}",
    "a Databricks token": r"dapi[0-9a-f]{32}(?:-\d)?\b",
    "a Vault token": r"hv[sbr]\.[\w-]{20,}|[A-Za-z0-9]{14}\.atlasv1\.[\w-]{60,}",
    "a hosting service's token": r"do[opr]_v1_[0-9a-f]{64}|HRKU-[\w-]{30,}|fo1_[\w-]{40,}|fm[12][ar]?_[\w+/=-]{40,}|nfp_\w{36,}"
    r"|sbp_[0-9a-f]{40}|sb_secret_[\w-]{20,}|pscale_(?:tkn|oauth|pw)_[\w.=-]{32,}|pul-[0-9a-f]{40}|dp\.[a-z]{2,5}\.[\w-]{40,}"
    r"|v1\.0-[0-9a-f]{24}-[0-9a-f]{100,}|vc[aikpr]_\w{24,}",
    "a work service's token": r"lin_api_\w{32,}|secret_[A-Za-z0-9]{43}|ntn_[A-Za-z0-9]{40,}|figd_[\w-]{40,}"
    r"|PMAK-[0-9a-f]{24}-[0-9a-f]{34}|pat[A-Za-z0-9]{14}\.[0-9a-f]{64}|AT(?:ATT|CTT)3[\w=-]{50,}|ATBB[A-Za-z0-9]{28,}"
    r"|CFPAT-[\w-]{40,}|tfp_[\w-]{40,}|sgp_[\w-]{40,}|bkua_[0-9a-f]{40}|CCIPAT_\w{20,}",
    "a monitoring service's key": r"glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|glc_[A-Za-z0-9+/]{32,}=*|NR(?:AK|JS|II|AL)-[\w-]{19,}"
    r"|sntry[su]_[\w=+/-]{20,}|dt0c01\.[A-Z0-9]{24}\.[A-Z0-9]{64}",
    "a data service's token": r"KGAT_\w{30,}|pn[ub]_[A-Za-z0-9]{36}|EAA[A-Za-z0-9]{60,}|A{20,}[\w%]{30,}|sl\.[\w-]{100,}",
    "a private key of age": r"AGE-SECRET-KEY-1[A-Z0-9]{50,}",
    "a JSON web token": r"(?<![-_])eyJ[\w-]{10,4000}+\.[\w-]{10,}+\.[\w-]*",
    "a password's hash": r"\$(?:apr1|2[abxy]|[156y]|argon2(?:id|i|d))\$[./A-Za-z0-9$=,+]{20,}",
}
"""Formats by label, recognised by their beginning, whatever the context."""

_PASSWORD_WORD = r"(?:pass(?:word|wd|wort|phrase|code)?|pwd|secret)"  # noqa: S105  # a pattern, not a password
_NO_PLACEHOLDER = r"(?![$<{*%]|\.{3}|x{3}|change_?me|your[ _-])"


_TOKEN_LABELS: Final = tuple(_TOKENS)
_SHORTEST_TOKEN = 15
_LONG_WORD = re.compile(rf"(?<!\S)\S{{{_SHORTEST_TOKEN},}}")
"""No token has white space, so only these are searched for tokens, which takes 100 times as long as finding them."""
_TOKEN = re.compile(f"{_START}(?:{'|'.join(f'({form})' for form in _TOKENS.values())})")
"""A group for each label."""

ANTHROPIC_KEY: Final = re.compile(_START + _TOKENS["an Anthropic API key"])


class _Form:
    """A form of secrets in text, of which only the last matching group is secret, or all if there is none.

    Args:
        label: The label of its secrets.
        needs: Strings of which the casefolded text must contain one. Looking for them is much faster than a search.
        pattern: The regular expression.
    """

    def __init__(self, label: str, needs: tuple[str, ...], pattern: str) -> None:
        self.label, self.needs, self._pattern = label, needs, pattern

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """Compiled on first access: together, the patterns would delay the first frame by 5 ms."""
        return re.compile(self._pattern)


_PRIVATE_KEY = _Form(
    "a private key",  # also its beginning or end, if the text was cut
    ("private",),
    r"""(?sx) -----BEGIN[ ][A-Z0-9 ]{0,40}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
    .*? (?:-----END[ ][A-Z0-9 ]{0,40}KEY(?:[ ]BLOCK)?-----|\Z)
    | \A [A-Za-z0-9+/=\s\\]{8,}+ -----END[ ][A-Z0-9 ]{0,40}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
    | Private-Lines:\ \d{1,4}(?:\r?\n|\\n)(?:[A-Za-z0-9+/=]{1,80}+(?:\r?\n|\\n)?){1,200}+""",
)
_FORMS = (
    _Form("a bearer token", ("bearer",), r"(?i)\bbearer\s++(?=[\w.~+/-]{0,200}?\d)([\w.~+/-]{16,}=*)"),
    _Form(
        "a login",
        ("authorization",),
        r"(?i)\bauthorization[\"']?\]?\s{0,3}[=:]\s{0,3}[\"']?(?:basic|token|digest)\s++([a-z0-9+/_-]{8,}=*)",
    ),
    _Form("a login", ('"auth"',), r"\"auth\"\s{0,3}:\s{0,3}\"([A-Za-z0-9+/]{8,500}=*)\""),  # Docker
    _Form(
        "a cookie",
        ("cookie",),
        r"(?i)\b(?:set-)?cookie[\"']?:[ ]?[\"']?(?=[^\n\"']{0,200}?(?:session|token|auth|sid)[\w-]{0,20}=)([^\s\"'][^\n\"']{7,4000})",
    ),
    _Form(
        "a password in an address",
        ("://",),
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'<>]{0,100}:(?!\{\w+\}@|\$\{?\w+\}?@|<[\w ]+>@|\*+@)([^\s/\"'<>`]{1,200})@(?=[\w\[])",
    ),
    _Form(
        "a token in an address",
        ("://",),
        r"\b[a-z][a-z0-9+.-]{1,20}://((?=[\w-]{0,100}?\d)[\w-]{20,200})@(?=\w)",
    ),
    _Form(
        "a webhook's address",
        ("hook", "telegram"),
        r"(?:hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/|webhook\.office\.com/webhookb2/"
        r"|hooks\.zapier\.com/hooks/catch/|outlook\.office\.com/webhook/|api\.telegram\.org/bot)([\w/@.:-]{16,})",
    ),
    _Form(
        "a secret in an address",
        ("=",),
        r"(?i)[?&;](?:access_token|api_?key|appid|auth|client_secret|key|password|pwd|sig|signature|secret|token"
        r"|x-(?:amz|goog)-(?:signature|credential|security-token))=(?=[^&\s\"'#<>]{0,200}?\d)(?![{$<])([^&\s\"'#<>;]{6,2000}+)",
    ),
    _Form(
        "a password",  # a connection string, with parts separated by semicolons
        (";",),
        r"(?i);\s?(?:password|pwd|accountkey|sharedaccesskey)\s?=\s?(?![{$<*])([^;\"'\s]{4,500})",
    ),
    _Form(
        "a password",  # .netrc
        ("password",),
        rf"(?i)\b(?:login|user|account)[ \t\n]{{1,8}}[^\s]{{1,100}}[ \t\n]{{1,8}}password[ \t\n]{{1,8}}{_NO_PLACEHOLDER}([^\s]{{4,200}})",
    ),
    _Form(
        "a password",  # an option of a command
        ("--", "curl"),
        rf"""(?ix)--(?:password|passwd|token|api-key|secret|client-secret|auth-token)(?:=|[ ]){_NO_PLACEHOLDER}(?!-)["']?
        (?=[^\s"']{{0,200}}?[\d!@\#^])([^\s"']{{6,500}})
        | \bcurl\b[^\n]{{0,200}}?[ ](?:-u|--user)[ =]?["']?[^\s:"']{{1,100}}:{_NO_PLACEHOLDER}([^\s"']{{4,200}})""",
    ),
    _Form(
        "a password",  # Kaggle's JSON
        ('"username"',),
        r"(?i)\"username\" ?: ?\"[^\"\n]{1,80}\",\s{0,9}\"key\" ?: ?\"([^\"\s]{16,200})\"",
    ),
    _Form(
        "a password",  # XML
        ("</", "value="),
        rf"""(?ix)<{_PASSWORD_WORD}>{_NO_PLACEHOLDER}([^<>\n]{{4,200}})</
        | {_PASSWORD_WORD}["'][ \t]{{1,4}}value=["']{_NO_PLACEHOLDER}([^"'\n]{{4,200}})["']""",
    ),
    _Form(
        "a password",  # .pgpass: host:port:database:user:password
        (":",),
        r"(?m)^[\w.*-]{1,100}:(?:\d{2,5}|\*):[\w.*-]{1,60}:[\w.*-]{1,60}:(\S{4,200})$",
    ),
)


_SHORTEST_SECRET = 8


def holds_key(text: str) -> bool:
    """Return whether a text contains an apparent Anthropic API key, which is never sent on purpose."""
    return "sk-ant-" in text and ANTHROPIC_KEY.search(text) is not None


def redact(text: str, environment: Mapping[str, str] = os.environ) -> tuple[str, tuple[str, ...]]:
    """Return a text with apparent credentials redacted, and their labels.

    Args:
        text: The collected text.
        environment: The environment variables.
    """
    labels: list[str] = []
    for name, value in _secrets(environment) if len(text) >= _SHORTEST_SECRET else ():
        for written in dict.fromkeys((value, repr(value)[1:-1])):  # as it is, and as in the repr of a string
            if written in text:
                text = text.replace(written, REDACTED)
                labels.append(f"environment variable {name}")
    folded = text.casefold()
    text = _without(text, _PRIVATE_KEY, folded, labels)
    note_token = _noting(labels, None)
    text = _LONG_WORD.sub(lambda word: _TOKEN.sub(note_token, word[0]), text)
    for form in _FORMS:
        text = _without(text, form, folded, labels)
    text = _without_assigned(text, labels)
    return text, tuple(dict.fromkeys(labels))


def _without(text: str, form: _Form, folded: str, labels: list[str]) -> str:
    if not any(each in folded for each in form.needs):
        return text
    return form.pattern.sub(_noting(labels, form.label), text)


def _without_assigned(text: str, labels: list[str]) -> str:
    parts: list[str] = []
    done = 0
    for found in sorted(find_assignments(text), key=lambda each: (each.start, -each.end)):
        if found.end <= done or REDACTED in text[found.start : found.end]:
            continue
        parts += [text[done : max(done, found.start)], REDACTED] if found.start >= done else []
        labels.append(found.label)
        done = found.end
    return "".join([*parts, text[done:]])


def _secrets(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the variables that hold secrets, longest value first, because one may contain another."""
    found = [(name, value.strip()) for name, value in environment.items() if _is_secret_name(name)]
    for name, value in sorted(found, key=lambda pair: -len(pair[1])):
        if len(value) >= _SHORTEST_SECRET and not is_trivial(name, value) and not _is_path(value):
            yield name, value


@functools.lru_cache(maxsize=1024)  # called with the same few names for each value of a prompt
def _is_secret_name(name: str) -> bool:
    return SECRET_NAME.search(name) is not None and name not in WORKING_DIRECTORIES


def _is_path(value: str) -> bool:
    """Return whether a value is an existing path. A slash is not enough, because keys in base64 may begin with one."""
    return value.startswith(("/", "./", "../", "~/")) and os.path.exists(os.path.expanduser(value))


def _noting(labels: list[str], label: str | None) -> Callable[[re.Match[str]], str]:
    """Return a replacement function that redacts a match, or only its secret group. Without a label, the group gives it."""

    def replace(match: re.Match[str]) -> str:
        group = match.lastindex or 0
        if REDACTED in match[group] and not match[group].replace(REDACTED, "").strip("\"'"):
            return match[0]  # nothing of it is left
        labels.append(label or _TOKEN_LABELS[group - 1])
        start, end = match.start(group) - match.start(), match.end(group) - match.start()
        return f"{match[0][:start]}{REDACTED}{match[0][end:]}"

    return replace


_LOGIN_FILES = re.compile(
    r"(?i)[._]netrc|\.pgpass|\.htpasswd|\.git-credentials|id_(?:rsa|dsa|ecdsa|ed25519)|shadow|.*\.ppk"
)
"""Names of files that contain only logins."""
_SETTINGS_FILES = re.compile(
    r"(?i)\.env.*|.*\.(?:env|ini|cfg|conf|properties|ya?ml|toml|tfvars|envrc)|\.(?:npmrc|pypirc|envrc|my\.cnf)|(?:kube)?config|credentials"
)
"""Names of files with settings, where the value of a secret name is always a secret."""
_FILE_SETTING = re.compile(
    r"""(?m)^[ \t-]{0,40}(?:export[ ])?["']?([\w./:-]{2,80})["']?[ \t]{0,20}[:=][ \t]{0,20}(?P<quote>["']?)(\S[^\n]{0,2000}?)(?P=quote)[ \t\r]{0,9},?$"""
)
_SECRET_COLUMN = re.compile(
    r"(?i)(?:\w{1,20}[ _-])?(?:pass(?:word|wd|phrase|code)|pwd|secret|(?:api|access|secret|private)[ _-]?key|(?:\w{1,20}[ _-])?token|pin|cvv|cvc)"
)
_EXAMINED_ROWS: Final = 50


def exposed_in(text: str, what: str, path: Path | None = None) -> tuple[str, ...]:
    """Return a phrase with the labels of apparent credentials in a text, as a tuple; () if there are none.

    Args:
        text: The text to be sent; for a file, with its heading and fence.
        what: The user's name for the text; the phrase begins with it.
        path: The file of the text, if any; its name determines the format.
    """
    labels = dict.fromkeys(redact(text)[1])
    if path is not None:
        labels |= dict.fromkeys(_in_file(text, path))
    return (f"{what} ({', '.join(islice(labels, 5))})",) if labels else ()


def refusal(exposed: tuple[str, ...], way_out: str) -> str:
    """Return the message that apparent credentials were not sent.

    Args:
        exposed: The phrases from `exposed_in`.
        way_out: A sentence on how to send them anyway.
    """
    one, several = "contains what looks like credentials", "contain what looks like credentials"
    return f"{'; '.join(exposed)} {one if len(exposed) == 1 else several}. Nothing was sent. Take them out. {way_out}"


def _in_file(text: str, path: Path) -> Iterator[str]:
    name = path.name
    if _LOGIN_FILES.fullmatch(name) and text.strip():
        yield "logins"
    if _SETTINGS_FILES.fullmatch(name):
        for match in _FILE_SETTING.finditer(text):
            if is_secret_setting(re.sub(r"[./:-]", "_", match[1]).strip("_"), match[3]):
                yield f"the value of {match[1]}"
    if path.suffix.lower() in (".csv", ".tsv"):
        yield from _secret_columns(text)


def _secret_columns(text: str) -> Iterator[str]:
    """Yield the columns of a CSV table that have the name of a secret and are not empty."""
    _, _, table = text.partition("```")  # the end of the heading
    lines = table.split("\n", _EXAMINED_ROWS + 2)[1 : _EXAMINED_ROWS + 2] or [""]
    delimiter = max(",;\t|", key=lines[0].count)
    try:
        head, *rows = csv.reader((line[:10_000] for line in lines), delimiter=delimiter)
    except (csv.Error, ValueError):
        return
    for place, title in enumerate(head):
        if _SECRET_COLUMN.fullmatch(title.strip()) and any(
            len(row[place].strip("* ")) >= 4 for row in rows if len(row) > place
        ):
            yield f"the column {title.strip()}"
