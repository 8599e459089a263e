"""What `-a` accepts, what is sent for it, and the errors for anything else."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from claude_magic.client import ConfigurationError
from claude_magic.context import Collected, attach, interpolate

PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"


def attached(spec: str, directory: Path, **names: object) -> Collected:
    return attach(spec, names, directory=directory)


class Sensor:
    """An object whose attributes may raise."""

    @property
    def value(self) -> float:
        raise RuntimeError("no contact")


def test_text_is_fenced_under_its_name(tmp_path: Path) -> None:
    """The fence cannot be closed by the content, and has the language of the suffix."""
    (tmp_path / "tide.py").write_text("print('``` and ````')", encoding="utf-8")

    assert attached("tide.py", tmp_path).text == "tide.py:\n`````python\nprint('``` and ````')\n`````\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_text_is_read_in_the_usual_encodings(tmp_path: Path, encoding: str) -> None:
    """A byte order mark is not part of the text."""
    (tmp_path / "a.txt").write_bytes("größer".encode(encoding))

    assert "\ngrößer\n" in attached("a.txt", tmp_path).text


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
def test_images_are_recognised_by_their_content(tmp_path: Path, kind: str) -> None:
    """Not by their suffix."""
    Image.new("RGB", (8, 6), "red").save(tmp_path / "picture.dat", format=kind)

    collected = attached("picture.dat", tmp_path)

    (block,) = (part for part in collected.parts if isinstance(part, dict))
    assert block["type"] == "image"
    assert block["source"]["media_type"] == f"image/{kind}"
    assert base64.b64decode(block["source"]["data"]) == (tmp_path / "picture.dat").read_bytes()


def test_a_picture_larger_than_useful_is_scaled_down(tmp_path: Path) -> None:
    """The API would scale it down anyway, after the upload."""
    Image.new("RGB", (4000, 1000)).save(tmp_path / "wide.png")

    collected = attached("wide.png", tmp_path)

    assert "from 4000×1000 to 1568×392" in collected.notes[0]


def test_a_pdf_is_a_document_with_its_name(tmp_path: Path) -> None:
    """In base64."""
    (tmp_path / "paper.pdf").write_bytes(PDF)

    (block,) = attached("paper.pdf", tmp_path).parts

    assert isinstance(block, dict)
    assert (block["type"], block["title"]) == ("document", "paper.pdf")
    assert base64.b64decode(block["source"]["data"]) == PDF


def test_a_pdf_of_many_pages_is_sent_with_a_warning(tmp_path: Path) -> None:
    """The limit depends on the model, and pages can be counted only in some files."""
    (tmp_path / "paper.pdf").write_bytes(PDF + b"<</Type /Pages>> " + b"<</Type/Page>>\n" * 101)

    (note,) = attached("paper.pdf", tmp_path).notes

    assert "101 pages" in note


def test_the_beginning_of_a_long_table_is_attached(tmp_path: Path) -> None:
    """In whole lines, with a note on how to send a summary of the whole table."""
    (tmp_path / "sales.csv").write_text("port,sold\n" + "Ems,1200\n" * 200_000, encoding="utf-8")

    collected = attached("sales.csv", tmp_path)

    assert collected.text.startswith("The beginning of sales.csv, which has 1.7 MB:\n```csv\nport,sold\n")
    assert collected.text.endswith("\nEms,1200\n```\n")
    assert len(collected.text) < 50_000
    assert "DataFrame" in collected.notes[0]


def test_a_character_cut_at_the_limit_does_not_change_the_encoding(tmp_path: Path) -> None:
    """Of a long file, only as much is read as can be sent."""
    (tmp_path / "wide.csv").write_text("ä,ö\n" * 800_000, encoding="utf-8")

    assert "ä,ö\n" * 1000 in attached("wide.csv", tmp_path).text


def test_a_notebook_is_sent_as_readable_cells(tmp_path: Path) -> None:
    """With sources and text outputs; an image is only mentioned."""
    output = {"output_type": "execute_result", "data": {"text/plain": ["4", "2"]}}
    picture = {"output_type": "display_data", "data": {"image/png": "aGk="}}
    progress = {"output_type": "stream", "text": ["\x1b[32m 10%\r", "100%\x1b[0m\n", "x" * 5000]}
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": "6 * 7", "outputs": [output, picture, progress]},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")

    collected = attached("a.ipynb", tmp_path)

    for part in (
        "# Title",
        "6 * 7",
        "Output of cell 2\n42",
        "[image/png]",
        "Output of cell 2\n100%\nx",
        "[… cut]",
    ):
        assert part in collected.text
    assert "aGk=" not in collected.text
    assert "pictures" in collected.notes[0]
    assert "longer than 4,000 characters" in collected.notes[1]


def test_a_variable_is_described(tmp_path: Path) -> None:
    """Also an attribute of a variable."""
    assert "[1, 2]" in attached("rows", tmp_path, rows=[1, 2]).text
    assert "wide" in attached("path.name", tmp_path, path=Path("wide.png")).text


def test_a_file_takes_precedence_over_a_variable_with_a_note(tmp_path: Path) -> None:
    """The name was typed like a path."""
    (tmp_path / "rows").write_text("from the file", encoding="utf-8")

    collected = attached("rows", tmp_path, rows=[1])

    assert "from the file" in collected.text
    assert "the file was attached" in collected.notes[0]


@pytest.mark.parametrize(
    ("address", "kind"),
    [("https://example.org/a.PNG?x=1", "image"), ("http://example.org/paper.pdf", "document")],
)
def test_a_url_is_passed_to_the_api(tmp_path: Path, address: str, kind: str) -> None:
    """The API fetches it; nothing is fetched here."""
    (block,) = attached(address, tmp_path).parts

    assert block == {"type": kind, "source": {"type": "url", "url": address}}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("tyde.py", "Did you mean tide.py"),
        ("https://example.org/page", "Download it"),
        (".", "a folder"),
        ("data.bin", "neither text nor a picture"),
        ("long.txt", "400,001 characters"),
        ("broken.ipynb", "not a notebook"),
        ("deep.ipynb", "not a notebook"),
        ("damaged.png", "is damaged"),
        (
            "page.png",
            r"is not a picture \(PNG, JPEG, GIF or WebP\), although its name says so: it contains a web page",
        ),
        ("page.PDF", "is not a PDF, although its name says so: it contains a web page"),
        ("empty.jpg", "it is empty"),
        ("pointer.webp", "it contains a Git LFS pointer"),
        ("words.gif", "it begins with b'some words'"),
        ("pickled.dat", "neither text nor a picture"),
        ("huge.txt", "1.9 MB; at most 400,000 characters"),
        ("huge.pdf", "4,096.0 MB; a PDF may have 24.0 MB"),
        ("http://[oops", "is not an address"),
        ("s3://bucket/picture.png", "Download it"),
        ("~nobody-of-this-name/x", "is neither a file in"),
        ("x" * 5000, "is neither a file in"),
        ("a\0b", "is neither a file in"),
        ("/dev/null", "a pipe, a socket or a device"),
        ("rows[0]", r"\{\{ rows\[0\] \}\}"),
        ("rows.size", "rows exists, but has no size"),
        ("sensor.value", "RuntimeError: no contact"),
    ],
)
def test_unsupported_attachments_are_errors_before_sending(tmp_path: Path, spec: str, says: str) -> None:
    """The message names an alternative."""
    (tmp_path / "tide.py").write_text("x", encoding="utf-8")
    (tmp_path / "data.bin").write_bytes(b"\x00\x01\x02")
    (tmp_path / "long.txt").write_text("x" * 400_001, encoding="utf-8")
    (tmp_path / "broken.ipynb").write_text("{}", encoding="utf-8")
    (tmp_path / "deep.ipynb").write_text("[" * 100_000, encoding="utf-8")
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("page.png", "page.PDF"):
        (tmp_path / name).write_text("\n<!DOCTYPE html><title>404</title>", encoding="utf-8")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "pointer.webp").write_text("version https://git-lfs.github.com/spec/v1", encoding="utf-8")
    (tmp_path / "words.gif").write_text("some words", encoding="utf-8")
    (tmp_path / "pickled.dat").write_bytes(b"\x80\x04\x95\x01\x01K\x01.")
    (tmp_path / "huge.txt").write_text("x" * 2_000_000, encoding="utf-8")
    with (tmp_path / "huge.pdf").open("wb") as file:
        file.write(PDF)
        file.truncate(4 * 2**30)  # which takes no room on the disk

    with pytest.raises(ConfigurationError, match=says) as caught:
        attached(spec, tmp_path, rows=[1], sensor=Sensor())

    assert "Nothing was sent" in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("https://example.org/my plot.png", "https://example.org/my%20plot.png"),
        ("https://example.org/a%20b.png", "https://example.org/a%20b.png"),
        ("https://example.org/100%.png", "https://example.org/100%25.png"),
        ("https://example.org/größe.png", "https://example.org/gr%C3%B6%C3%9Fe.png"),
        ("https://example.org/a.png?q=x y&z=ä", "https://example.org/a.png?q=x%20y&z=%C3%A4"),
        ("https://exämple.org/a.png", "https://xn--exmple-cua.org/a.png"),
        ("https://example.org/a\u00a0b.pdf", "https://example.org/a%C2%A0b.pdf"),
        ("https://example.org/a,(b)~c;d=e@f!.png?x=1#top", "https://example.org/a,(b)~c;d=e@f!.png?x=1#top"),
    ],
)
def test_a_url_is_encoded_like_in_a_browser(typed: str, sent: str, tmp_path: Path) -> None:
    """Invalid characters are encoded, and nothing is encoded twice."""
    (block,) = attach(typed, {}, directory=tmp_path).parts

    assert isinstance(block, dict)
    assert block["source"] == {"type": "url", "url": sent}


@pytest.mark.parametrize(
    "address", ["https://exa mple.org/a.png", "https:///a.png", "https://" + "ä" * 80 + ".org/a.png"]
)
def test_a_url_without_a_valid_host_is_an_error(address: str, tmp_path: Path) -> None:
    """It could not be fetched."""
    with pytest.raises(ConfigurationError, match="is not an address"):
        attach(address, {}, directory=tmp_path)


@pytest.mark.parametrize(
    ("typed", "name", "difference"),
    [
        ("Screenshot at 1.02.03 PM.txt", "Screenshot at 1.02.03\u202fPM.txt", "U+202F"),
        ("my notes.txt", "my\u00a0notes.txt", "U+00A0"),
        ("notes.txt", "no\u200btes.txt", "a zero-width space (U+200B)"),
        ("notes.txt", "\ufeffnotes.txt", "U+FEFF"),
        ("a-b.txt", "a\u2011b.txt", "non-breaking hyphen (U+2011)"),
        ("caf\u00e9.txt", "cafe\u0301.txt", "é written as two characters (NFD)"),
        ("cafe\u0301.txt", "caf\u00e9.txt", "é written as one character (NFC)"),
        ("my\u00a0notes.txt", "my notes.txt", "no no-break space (U+00A0)"),
        ("日本 語.txt", "日本\u3000語.txt", "an ideographic space (U+3000)"),
    ],
)
def test_a_file_whose_name_differs_invisibly_is_attached(
    tmp_path: Path, typed: str, name: str, difference: str
) -> None:
    """If it is the only one; a note describes the difference."""
    (tmp_path / name).write_text("high water", encoding="utf-8")
    (tmp_path / "another.txt").write_text("low water", encoding="utf-8")

    collected = attached(typed, tmp_path)

    assert "high water" in collected.text
    assert difference in collected.notes[0]


def test_none_of_several_look_alike_files_is_attached(tmp_path: Path) -> None:
    """The error describes the differences."""
    for space in "\u00a0\u202f":
        (tmp_path / f"my{space}notes.txt").write_text("x", encoding="utf-8")

    with pytest.raises(ConfigurationError, match="2 names there look like it") as caught:
        attached("my notes.txt", tmp_path)

    assert "U+00A0" in str(caught.value)
    assert "U+202F" in str(caught.value)


def test_a_suggested_name_shows_invisible_characters(tmp_path: Path) -> None:
    """As escapes."""
    (tmp_path / "my\u202fnotes.txt").write_text("x", encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"Did you mean my\\u202fnotes\.txt\?"):
        attached("my note.txt", tmp_path)


def test_in_a_deleted_directory_only_absolute_paths_and_variables_are_attached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anything else is an error of one line."""
    (tmp_path / "tide.txt").write_text("high water", encoding="utf-8")
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()

    assert "high water" in attach(str(tmp_path / "tide.txt"), {}).text
    assert "[1, 2]" in attach("rows", {"rows": [1, 2]}).text
    with pytest.raises(ConfigurationError, match="the working directory of this kernel has been deleted"):
        attach("tide.txt", {})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """No process may ever write to it."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ConfigurationError, match="a pipe, a socket or a device"):
        attached("pipe", tmp_path)


KEY = "sk-ant-" + "api03-q8Zr2Y0hT5vKxWb2LmN7pQeR4s"

EXPOSED = {
    ".env": "DEBUG=1\nSMTP_PASS=hunter2\n",
    ".env.production": "db_password=geheim\n",
    "server.pem": "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\n",
    ".netrc": "machine api.example.org\nlogin ada\npassword tides\n",
    ".pgpass": "db:5432:tides:ada:sea\n",
    "id_ed25519": "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n",
    "credentials.json": '{"installed": {"client_secret": "GOCSPX-q8Zr2Y0hT5vKxWb2LmN7pQeR"}}',
    "config.yaml": "smtp:\n  password: correcthorse\n",
    "settings.ini": "[db]\npassword = correct horse\n",
    "app.toml": 'api_key = "abcdefghij"\n',
    "users.csv": "name;password\nada;lovelace\n",
    "keys.csv": f"name,value\nclaude,{KEY}\n",
    "a.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": f"client = Client('{KEY}')"}]}),
    "b.ipynb": json.dumps(
        {
            "cells": [
                {"cell_type": "code", "source": "x", "outputs": [{"output_type": "stream", "text": [KEY]}]}
            ]
        }
    ),
    "utf16.txt": f"key {KEY}",
}


@pytest.mark.parametrize("name", EXPOSED)
def test_a_file_with_apparent_credentials_is_marked(tmp_path: Path, name: str) -> None:
    """Its content is unchanged, because the sender asks first. No value is quoted."""
    (tmp_path / name).write_text(EXPOSED[name], encoding="utf-16" if name.startswith("utf16") else "utf-8")

    collected = attached(name, tmp_path)

    (exposed,) = collected.exposed
    assert exposed.startswith(f"{name} (")
    for secret in ("hunter2", "geheim", "correct", "GOCSPX", KEY, "lovelace", "abcdefghij"):
        assert secret not in exposed
    assert "[REDACTED]" not in collected.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".env", "DEBUG=1\nSMTP_PASS=\nAPI_KEY=<your key>\nPORT=8080\nSECRET_NAME=tides\n"),
        ("server.pem", "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"),
        (
            "config.yaml",
            "max_tokens: 16000\ntokenizer: bert\npassword: ${DB_PASSWORD}\npassword_file: /run/secrets/db\n",
        ),
        ("users.csv", "name;password\nada;****\n"),
        ("log.csv", "name,tokens\nada,1200\n"),
        ("model.py", "tokenizer = load()\nmax_tokens = 12\npassword_field = 'name'\n"),
    ],
)
def test_a_file_that_only_mentions_credentials_is_not_marked(tmp_path: Path, name: str, text: str) -> None:
    """Placeholders, names and code are not secrets."""
    (tmp_path / name).write_text(text, encoding="utf-8")

    assert attached(name, tmp_path).exposed == ()


def test_a_string_and_a_url_are_marked_too(tmp_path: Path) -> None:
    """They are sent unchanged; an object is not marked, because its description is redacted."""
    assert attached("text", tmp_path, text=f"key {KEY}").exposed == ("text (an Anthropic API key)",)
    assert attached("rows", tmp_path, rows=[KEY]).exposed == ()
    assert attached("https://ada:lovelace1@example.org/a.png", tmp_path).exposed == (
        "The address (a password in an address)",
    )
    assert interpolate("Why {{ text }}?", {"text": f"key {KEY}"}).exposed == (
        "{{ text }} (an Anthropic API key)",
    )
    assert interpolate("Why {{ rows }}?", {"rows": [KEY]}).exposed == ()
