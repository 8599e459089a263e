"""How credentials are written: the forms that well-known services give their keys, and those that protocols and files have for passwords.

Each form reads a text in time that grows with its length alone: repetitions have bounds, or give nothing back (`++`).
The forms of keys are those that the services publish for scanners of repositories.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# Not in the middle of a word. In the repr of a text, though, `\n` may stand before it, and on a terminal a color: `\x1b[32m`.
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
"""By what they are. They are known by their beginning, whatever stands beside them."""

_PASSWORD_WORD = r"(?:pass(?:word|wd|wort|phrase|code)?|pwd|secret)"  # noqa: S105  # a word for one
_NO_PLACEHOLDER = r"(?![$<{*%]|\.{3}|x{3}|change_?me|your[ _-])"


def _verbose(pattern: str) -> re.Pattern[str]:
    return re.compile(f"(?ix){pattern}")


_KINDS = dict(enumerate(_TOKENS))
_TOKEN = re.compile(
    _START + "(?:" + "|".join(f"(?P<k{kind}>{_TOKENS[_KINDS[kind]]})" for kind in _KINDS) + ")"
)

ANTHROPIC_KEY: Final = re.compile(_START + _TOKENS["an Anthropic API key"])

SECRET_FORMS: tuple[tuple[str | None, re.Pattern[str]], ...] = (
    (
        "a private key",  # also one of which a cut has left the beginning or the end
        re.compile(
            r"""(?sx) -----BEGIN[ ][A-Z0-9 ]{0,40}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
            .*? (?:-----END[ ][A-Z0-9 ]{0,40}KEY(?:[ ]BLOCK)?-----|\Z)
            | \A [A-Za-z0-9+/=\s\\]{8,}+ -----END[ ][A-Z0-9 ]{0,40}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----
            | Private-Lines:\ \d{1,4}(?:\r?\n|\\n)(?:[A-Za-z0-9+/=]{1,80}+(?:\r?\n|\\n)?){1,200}+"""
        ),
    ),
    (None, _TOKEN),  # its group says which kind it is
    # Of these only a part is secret: the last group that matched.
    ("a bearer token", re.compile(r"(?i)\bbearer\s++(?=[\w.~+/-]{0,200}?\d)([\w.~+/-]{16,}=*)")),
    (
        "a login",
        re.compile(
            r"(?i)\bauthorization[\"']?\]?\s{0,3}[=:]\s{0,3}[\"']?(?:basic|token|digest)\s++([a-z0-9+/_-]{8,}=*)"
        ),
    ),
    ("a login", re.compile(r"\"auth\"\s{0,3}:\s{0,3}\"([A-Za-z0-9+/]{8,500}=*)\"")),  # of Docker
    (
        "a cookie",
        re.compile(
            r"(?i)\b(?:set-)?cookie[\"']?:[ ]?[\"']?(?=[^\n\"']{0,200}?(?:session|token|auth|sid)[\w-]{0,20}=)([^\s\"'][^\n\"']{7,4000})"
        ),
    ),
    (
        "a password in an address",
        re.compile(
            r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'<>]{0,100}:(?!\{\w+\}@|\$\{?\w+\}?@|<[\w ]+>@|\*+@)([^\s/\"'<>`]{1,200})@(?=[\w\[])"
        ),
    ),
    (
        "a token in an address",
        re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://((?=[\w-]{0,100}?\d)[\w-]{20,200})@(?=\w)"),
    ),
    (
        "a webhook's address",
        re.compile(
            r"(?:hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/|webhook\.office\.com/webhookb2/"
            r"|hooks\.zapier\.com/hooks/catch/|outlook\.office\.com/webhook/|api\.telegram\.org/bot)([\w/@.:-]{16,})"
        ),
    ),
    (
        "a secret in an address",
        re.compile(
            r"(?i)[?&;](?:access_token|api_?key|appid|auth|client_secret|key|password|pwd|sig|signature|secret|token"
            r"|x-(?:amz|goog)-(?:signature|credential|security-token))=(?=[^&\s\"'#<>]{0,200}?\d)(?![{$<])([^&\s\"'#<>;]{6,2000}+)"
        ),
    ),
    (
        "a password",  # of a connection string, which separates its parts by semicolons
        re.compile(r"(?i);\s?(?:password|pwd|accountkey|sharedaccesskey)\s?=\s?(?![{$<*])([^;\"'\s]{4,500})"),
    ),
    (
        "a password",  # of XML; of .netrc; of a command; of Kaggle's JSON
        _verbose(
            rf"""<{_PASSWORD_WORD}>{_NO_PLACEHOLDER}([^<>\n]{{4,200}})</
            | {_PASSWORD_WORD}["'][ \t]{{1,4}}value=["']{_NO_PLACEHOLDER}([^"'\n]{{4,200}})["']
            | \b(?:login|user|account)[ \t\n]{{1,8}}[^\s]{{1,100}}[ \t\n]{{1,8}}password[ \t\n]{{1,8}}{_NO_PLACEHOLDER}([^\s]{{4,200}})
            | --(?:password|passwd|token|api-key|secret|client-secret|auth-token)(?:=|[ ]){_NO_PLACEHOLDER}(?!-)["']?
              (?=[^\s"']{{0,200}}?[\d!@\#^])([^\s"']{{6,500}})
            | "username"[ ]?:[ ]?"[^"\n]{{1,80}}",\s{{0,9}}"key"[ ]?:[ ]?"([^"\s]{{16,200}})"
            | \bcurl\b[^\n]{{0,200}}?[ ](?:-u|--user)[ =]?["']?[^\s:"']{{1,100}}:{_NO_PLACEHOLDER}([^\s"']{{4,200}})"""
        ),
    ),
    (
        "a password",  # of .pgpass: host:port:database:user:password
        re.compile(r"(?m)^[\w.*-]{1,100}:(?:\d{2,5}|\*):[\w.*-]{1,60}:[\w.*-]{1,60}:(\S{4,200})$"),
    ),
)


def kind_of(match: re.Match[str]) -> str:
    """Return what a match of the form without a label is."""
    return _KINDS[int((match.lastgroup or "k0")[1:])]
