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
    "password: str = 'correct-horse-9'",
    "password = b'correct-horse-9'",
    f"password = '{'long-' * 100}'",
    "if password == 'correct-horse-9'",
    "{'clientSecret': 'abcdef123456'}",
    "SECRET_KEY = 'django-insecure-abc123'",
    "os.environ['DB_PASSPHRASE'] = 'correct-horse-9'",
    "x-api-key: 0123456789abcdef",
    "AccountKey=abcdef1234567890abcdef==",
    "token: abcdef1234567890abcd",
    "Authorization: Basic dXNlcjpwYXNzd29yZA==",
    "redis://:lovelace99@db.example.org/0",
    "'one\\nsk-ant-api03-abcdefghijklmnop'",
    "\x1b[32mghp_abcdefghijklmnopqrstuvwxyz0123456789\x1b[0m",
    "key_sk-ant-api03-abcdefghijklmnop",
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
    "password = get_password2(user)",
    "access_token = response2.json()",
    "api_key=settings.v1_key",
    "secret = np.float64(1.5)",
    "token = tokenizer2(text)",
    "{'token': 'Berlin12', 'count': 3}",
    "pad_token = '<|reserved_special_token_250|>'",
    "token: 0.12345678901234567",
    "the class sk-toggleable__label-arrow-fitted",
    "the bearer authentication_scheme of the API",
    'f"postgres://{user}:{password}@db.example.org/x"',
    "postgres://ada:***@db.example.org/x",
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


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "GHTOKEN", "API_KEY2", "DB_PASS", "client_secret"]
)
def test_variables_are_known_by_the_usual_names_of_secrets(name: str) -> None:
    """Whatever the value looks like: a key in base64 may begin with a slash, a file may end with a line break."""
    for value in ("/wJalrXUtnFEMI", "abcdefgh1234\n"):
        assert redact(f"x {value.strip()} y", {name: value}) == (
            "x [REDACTED] y",
            (f"environment variable {name}",),
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PWD", "/a/place/that/is/gone"),
        ("SSL_KEY", __file__),
        ("POSTGRES_PASSWORD", "postgres"),
        ("MAX_TOKENS", "123456789"),
        ("KEY_URL", "https://example.org/keys"),
        ("KEYBOARD", "querty-layout"),
        ("MONKEY_NAME", "chimpanzee"),
    ],
)
def test_variables_that_hide_nothing_are_left_alone(name: str, value: str) -> None:
    """Else a word, a path or a number would vanish from all that is sent."""
    assert redact(f"x {value} y", {name: value}) == (f"x {value} y", ())


def test_a_secret_of_several_lines_is_found_in_a_repr_too() -> None:
    """There its line breaks are two characters."""
    environment = {"SIGNING_KEY": "first\nsecond\n"}

    redacted, labels = redact(f"{environment}", environment)

    assert redacted == "{'SIGNING_KEY': '[REDACTED]\\n'}"
    assert labels == ("environment variable SIGNING_KEY",)


def test_what_a_cut_left_of_a_private_key_is_replaced() -> None:
    """Its beginning or its end is as secret as all of it."""
    body = "MIIEowIBAAKCAQEA\n" * 40

    for text in (
        f"a -----BEGIN PRIVATE KEY-----\n{body}",
        f"{body}-----END PRIVATE KEY----- a",
        f"{body!r}"[1:-1] + "-----END PRIVATE KEY----- a",
    ):
        assert "MIIE" not in redact(text, {})[0]


def test_a_long_text_is_read_in_a_moment() -> None:
    """No pattern may go over the text again and again."""
    pieces = (
        "password=",
        "a.b:c@d ",
        "eyJ" + "a" * 40,
        "eyJ-",
        "-----BEGIN X PRIVATE KEY-----",
        "-----BEGIN ",
    )
    for piece in (*pieces, "://x:", "bearer ", "sk-", "token=a.", "password='a", "secret: a", "\\nsk-ant-"):
        started = time.process_time()
        redact(piece * (250_000 // len(piece)), {"SOME_TOKEN": "abcdefghijk"})
        assert time.process_time() - started < 5, piece
