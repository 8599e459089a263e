"""Secrets in collected content are replaced, and little else is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from claude_magic.context import holds_key, redact

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

LETTERS = "q8Zr2Y0hT5vKxWb2LmN7pQeR4sUoAiCdEfGjH9kVtX1yB3zDgJwMnPuSaFcIlOr6" * 2
HEX = "0123456789abcdef" * 8

TOKENS = [  # made up here, so that no scanner takes the file for a leak
    "SG." + LETTERS[:22] + "." + LETTERS[:43],
    "pypi-AgEIcHlwaS5vcmc" + LETTERS[:60],
    "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA." + LETTERS[:6] + "." + LETTERS[:38],
    "https://discord.com/api/webhooks/1234567890/" + LETTERS[:68],
    "https://hooks.slack.com/services/T00000000/B00000000/" + LETTERS[:24],
    "npm_" + LETTERS[:36],
    "//registry.npmjs.org/:_authToken=" + LETTERS[:36],
    "rk_live_" + LETTERS[:24],
    "whsec_" + LETTERS[:32],
    "SK" + HEX[:32],
    "gsk_" + LETTERS[:52],
    "xai-" + LETTERS[:80],
    "r8_" + LETTERS[:37],
    "dapi" + HEX[:32],
    "hvs." + LETTERS[:90],
    "dop_v1_" + HEX[:64],
    "lin_api_" + LETTERS[:40],
    "figd_" + LETTERS[:40],
    "glsa_" + LETTERS[:32] + "_" + HEX[:8],
    "glrt-" + LETTERS[:20],
    "shpat_" + HEX[:32],
    "sq0atp-" + LETTERS[:22],
    "123456789:AA" + LETTERS[:33],
    "GOCSPX-" + LETTERS[:28],
    "xapp-1-A1-123-" + LETTERS[:64],
    "0oa8Q~" + LETTERS[:34],
    "sk-or-v1-" + HEX[:64],
    "$2b$12$" + LETTERS[:53],
    "https://" + LETTERS[:40] + "@github.com/ada/tides",
    "https://a.blob.core.windows.net/c?sv=1&sig=" + LETTERS[:40],
    "https://api.example.org/v1?api_key=" + LETTERS[:20],
    "Authorization: token " + LETTERS[:40],
    "-----BEGIN OPENSSH PRIVATE KEY-----\\nabc\\n-----END OPENSSH PRIVATE KEY-----",
]

GIVEN_TO_A_NAME = {
    "SMTP_PASS=hunter2": "hunter2",
    "SMTP_PASS=correcthorse": "correcthorse",
    'SMTP_PASS="correct horse battery staple"': "horse",
    "export SMTP_PASS='a b c d'": "a b c d",
    "SMTP_PASS=p@ss;w0rd(1)": "w0rd",
    "# DB_PASSWORD=hunter2": "hunter2",
    "      SMTP_PASS: correct horse": "horse",
    '{"auths": {"registry": {"auth": "YWRhOmxvdmVsYWNl"}}}': "YWRhOmxvdmVsYWNl",
    "Cookie: theme=dark; session=lovelace": "lovelace",
    "  - POSTGRES_PASSWORD=geheim": "geheim",
    "ENV API_TOKEN=abcd-efgh": "abcd-efgh",
    "SENDGRID_API_KEY=SG.x.y": "SG.x.y",
    "OPENWEATHER_KEY=0123456789abcdef0123456789abcdef": "abcdef",
    "password = 'correct horse battery staple'": "horse",
    '{"password": "correct horse battery staple"}': "horse",
    '{"password": "pa\\"ss word1"}': "word1",
    "{'pass': 'two words'}": "two words",
    '"{\\"password\\": \\"hunter22\\"}"': "hunter22",
    "passwd='''abcdef12'''": "abcdef12",
    "smtpPass = 'hunter22'": "hunter22",
    "smtp_pass: hunter2": "hunter2",
    "db.password=hunter2!": "hunter2",
    "password: |\n  correct horse": "horse",
    "пароль: 'секрет1234'": "секрет",
    "login(user='ada', password='hunter2 2')": "hunter2",
    "<password>hunter2</password>": "hunter2",
    '<add name="Password" value="hunter2"/>': "hunter2",
    "machine api.example.org login ada password hunter2": "hunter2",
    "db.example.org:5432:tides:ada:hunter2": "hunter2",
    "Server=db;User Id=sa;Password=abcd;": "abcd",
    "postgres://ada:p@ss1@db.example.org/x": "ss1",
    "curl -u ada:hunter2 https://example.org": "hunter2",
    "mysql --password=hunter2! tides": "hunter2",
    '{"username":"ada","key":"0123456789abcdef0123456789abcdef"}': "abcdef",
    f"token_a.key = 1; api_key = '{LETTERS[:30]}'": LETTERS[:30],
}

HARMLESS = [
    "token_count = 12",
    "API_TOKEN: str",
    "API_TOKEN: SecretStr",
    "API_TOKEN: Final = load()",
    "cookie: theme=dark",
    "MAX_TOKENS=16000",
    'password_field = "name"',
    "tokenizer = AutoTokenizer.from_pretrained('bert-base-uncased')",
    "TOKENIZERS_PARALLELISM=false",
    "PASSWORD_MIN_LENGTH=12",
    "SECRET_NAME=my-db-secret",
    "SORT_KEY=created_at",
    "password = getpass.getpass()",
    "PASSWORD=get_password()",
    "SECRET_KEY=os.environ['SECRET_KEY']",
    "API_KEY=${API_KEY}",
    "API_KEY=<your key>",
    "API_KEY=your-api-key-here",
    "HF_TOKEN=hf_xxx...",
    "password='{password}'",
    "password: '********'",
    "first_pass = 'quick scan'",
    "bypass = 'something12'",
    "PASS: tests/test_api2.py::test_x",
    "pass_rate: 0.98765",
    "primary_key='user_id_123'",
    "'password': 'Enter your password'",
    "eos_token='<|endoftext|>'",
    "auth_token=self.auth_token",
    "pwd = os.getcwd()",
    "PWD=/home/ada/work",
    "secretary = 'Ada Lovelace'",
    "secrets.token_hex(16)",
    "https://example.org/?key=value&page=2",
    "git@github.com:ada/tides.git",
    "risk-assessment-2024-final-report",
    "d41d8cd98f00b204e9800998ecf8427e",
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
def test_apparent_credentials_are_replaced(text: str) -> None:
    """In the middle of other text, which is kept."""
    redacted, labels = redact(f"before {text} after", {})

    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    assert "[REDACTED]" in redacted
    assert len(labels) == 1
    assert all(label not in redacted for label in labels)


@pytest.mark.parametrize("text", TOKENS, ids=lambda text: text[:10])
def test_keys_of_well_known_services_are_replaced(text: str) -> None:
    """By their format alone; the text around them is kept."""
    redacted, labels = redact(f"before\n{text}\nafter", {})

    assert redacted.startswith("before\n")
    assert redacted.endswith("\nafter")
    assert "[REDACTED]" in redacted
    assert LETTERS[:16] not in redacted
    assert HEX[:16] not in redacted
    assert len(labels) == 1


@pytest.mark.parametrize("space", ["\n", "\t", "\u00a0", "\u2003"])
@pytest.mark.parametrize("token", ["sk-ant-q8Zr2Y0h", "xoxb-q8Zr2Y0hT5", "xapp-1-q8Zr2Y0hT5"])
def test_the_shortest_tokens_are_replaced_alone_and_within_a_word(token: str, space: str) -> None:
    """Only words of the length of a token are searched, and a word ends at any white space."""
    for word in (token, f"({token})", f"a={token},b", f"\\n{token}", f"\x1b[32m{token}\x1b[0m"):
        redacted, labels = redact(f"of{space}{word}{space}and", {})

        assert token not in redacted
        assert redacted.startswith(f"of{space}")
        assert redacted.endswith(f"{space}and")
        assert len(labels) == 1


@pytest.mark.parametrize("spell", [str.upper, str.title])
@pytest.mark.parametrize(
    "beginning",
    [
        "authorization: basic ",
        "cookie: session=",
        "bearer ",
        "password = ",
        "clé, пароль: ",
        "--token ",
        "login ada password ",
    ],
)
def test_names_of_secrets_are_found_in_any_case(beginning: str, spell: Callable[[str], str]) -> None:
    """Also where a name has letters that change their number when they are folded."""
    secret = "q8zr2y0ht5vkxwb2lmn7pqer4s"

    assert secret not in redact(f"Straße\n{spell(beginning)}{secret}", {})[0]


@pytest.mark.parametrize("text", GIVEN_TO_A_NAME)
def test_values_assigned_to_names_of_secrets_are_replaced(text: str) -> None:
    """In code, JSON, YAML, TOML, INI, XML, shells and connection strings, with blanks or without."""
    redacted, labels = redact(f"before\n{text}\nafter", {})

    assert GIVEN_TO_A_NAME[text] not in redacted
    assert redacted.startswith("before\n")
    assert redacted.endswith("\nafter")
    assert len(labels) == 1


def test_a_secret_after_a_harmless_name_is_found() -> None:
    """An apparent value of one name may contain another name and its secret."""
    redacted, _ = redact("{'key': \"password='hunter22'\", 'token': 'pwd=hunter22'}", {})

    assert "hunter22" not in redacted


@pytest.mark.parametrize("text", HARMLESS)
def test_text_that_only_mentions_secrets_is_kept(text: str) -> None:
    """Users ask about code with keys and tokens."""
    assert redact(text, {}) == (text, ())


def test_values_of_secret_environment_variables_are_replaced() -> None:
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
def test_secret_variables_are_recognised_by_name(name: str) -> None:
    """Whatever the value: a key in base64 may begin with a slash, a file may end with a newline."""
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
def test_harmless_variables_are_not_redacted(name: str, value: str) -> None:
    """Otherwise a word, a path or a number would disappear from all prompts."""
    assert redact(f"x {value} y", {name: value}) == (f"x {value} y", ())


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nhunter22\nq8Zr2Y0h\n-----END RSA PRIVATE KEY-----",
        "login ada password q8Zr2Y0h<hunter22>",
        "curl -u ada:q8Zr2Y0hhunter22 https://example.org",
        "Set-Cookie: session=hunter22; token=q8Zr2Y0h",
    ],
)
def test_a_secret_of_which_a_part_is_redacted_already_is_redacted_whole(text: str) -> None:
    """A variable's value, or another form of secret, is found in it first."""
    redacted, _ = redact(text, {"DB_PASSWORD": "hunter22"})

    assert "q8Zr2Y0h" not in redacted
    assert "MIIE" not in redacted


def test_a_secret_of_several_lines_is_found_in_a_repr_too() -> None:
    """There its newlines are two characters."""
    environment = {"SIGNING_KEY": "first\nsecond\n"}

    redacted, labels = redact(f"{environment}", environment)

    assert redacted == "{'SIGNING_KEY': '[REDACTED]\\n'}"
    assert labels == ("environment variable SIGNING_KEY",)


def test_parts_of_a_private_key_are_replaced() -> None:
    """Its beginning and its end are secret too."""
    body = "MIIEowIBAAKCAQEA\n" * 40

    for text in (
        f"a -----BEGIN PRIVATE KEY-----\n{body}",
        f"{body}-----END PRIVATE KEY----- a",
        f"{body!r}"[1:-1] + "-----END PRIVATE KEY----- a",
    ):
        assert "MIIE" not in redact(text, {})[0]


@pytest.mark.parametrize(
    "piece",
    [
        "password=",
        "a.b:c@d ",
        "eyJ" + "a" * 40,
        "eyJ-",
        "-----BEGIN X PRIVATE KEY-----",
        "-----BEGIN ",
        "A_PASS=",
        "login a password ",
        "curl -u a",
        "?key=1",
        "SG.-",
        "npm_",
        "\n ",
        '\\"password\\": ',
        "x:1:x:x:",
        "://x:",
        "bearer ",
        "sk-",
        "token=a.",
        "password='a",
        "secret: a",
        "\\nsk-ant-",
    ],
)
def test_no_pattern_takes_quadratic_time(piece: str) -> None:
    """That would take minutes, and end in the timeout."""
    text, _labels = redact(piece * (300_000 // len(piece)), {"SOME_TOKEN": "abcdefghijk"})

    assert text


@pytest.mark.parametrize(
    "text",
    ["sk-ant-api03-abcDEF0123456789", "key='sk-ant-admin01-abcDEF0123456789'", "\\nsk-ant-oat01-abcDEF0123"],
)
def test_an_anthropic_key_is_recognised_separately(text: str) -> None:
    """Typed text with such a key is refused; with any other secret it is sent."""
    assert holds_key(text)
    assert not holds_key("What is sk-ant-… for? And ghp_abcdefghijklmnopqrstuvwxyz0123456789?")
