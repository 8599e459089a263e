"""Secrets in what is collected are replaced, and little else is."""

from __future__ import annotations

import time

import pytest

from claude_magic.context import redact

SECRETS = [
    "sk-ant-api03-abcdefghijklmnop",
    "sk-proj-abcdefghijklmnopqrstuvwxyz123456",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_pat_11ABCDEFG0abcdefghijklmnop",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA-abcdefghijklmnopqrstuvwxyz01234",
    "xoxb-123456789012-abcdefghijkl",
    "hf_abcdefghijklmnopqrstuvwxyz",
    "glpat-abcdefghijklmnopqrst",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    "Authorization: Bearer abcdefghijklmnop1234",
    "postgres://ada:lovelace99@db.example.org/x",
    "password = 'correct-horse-9'",
    '"api_key": "0123456789abcdef"',
    "DB_PASSWORD=s3cretpassw0rd",
]

HARMLESS = [
    "max_tokens=16000",
    "token = tokenizer(text)",
    "sorted(rows, key=lambda row: row.price)",
    "the password is checked by check_password(user, password)",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "id 550e8400-e29b-41d4-a716-446655440000",
    "https://example.org/a/path?query=1",
    "sklearn.linear_model and sk-learn",
    "secret = None",
    "A key, a token and a secret walk into a bar.",
    "password: str",
]


@pytest.mark.parametrize("text", SECRETS, ids=lambda text: text[:14])
def test_what_looks_like_a_credential_is_replaced(text: str) -> None:
    """In the middle of other text, which stays."""
    redacted, labels = redact(f"before {text} after", {})

    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    assert "[REDACTED]" in redacted
    assert len(labels) == 1
    assert all(label not in redacted for label in labels)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_sounds_like_one_stays(text: str) -> None:
    """Code about keys and tokens is what people ask about."""
    assert redact(text, {}) == (text, ())


def test_values_of_secret_variables_are_replaced_wherever_they_stand() -> None:
    """The label names the variable, never its value."""
    environment = {
        "MY_TOKEN": "hunter2hunter2",
        "HOME": "/home/ada",
        "EDITOR_KEY": "true",
        "SHORT_KEY": "abc",
    }

    redacted, labels = redact("x = 'hunter2hunter2' in /home/ada, true abc", environment)

    assert redacted == "x = '[REDACTED]' in /home/ada, true abc"
    assert labels == ("environment variable MY_TOKEN",)


def test_a_megabyte_is_read_in_a_moment() -> None:
    """No pattern may go over the text again and again."""
    for piece in (
        "password=",
        "a.b:c@d ",
        "eyJ" + "a" * 40,
        "-----BEGIN X PRIVATE KEY-----",
        "://x:",
        "bearer ",
    ):
        started = time.process_time()
        redact(piece * (1_000_000 // len(piece)), {"SOME_TOKEN": "abcdefghijk"})
        assert time.process_time() - started < 10, piece
