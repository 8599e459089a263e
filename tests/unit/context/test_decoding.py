"""The encodings of text files, and the notes on guesses."""

from __future__ import annotations

import codecs

import pytest

from claude_magic.context._attach import decode_file
from claude_magic.context._decoding import decode

CERTAIN = {
    "utf-8": "größer 東京 😀",
    "utf-8-sig": "name;preis\nKaffee;5 €\n",
    "utf-16": "größer 東京 😀",
    "utf-32": "größer 東京 😀",
}

GUESSED = [
    ("cp1252", "name;price\nCafé;5 €\nMüller;7 €\n"),
    ("cp1252", "“smart quotes” – dash… it’s 5 € a piece\n"),
    ("cp1252", "x;µm;±5\nprice £5, 20 °C ± 3 µm\n"),
    ("cp1252", "Blåbær; smørrebrød; ærø\n"),
    ("cp1252", "perché è così; città; più\n"),
    ("cp1252", "São Paulo;Informações de contato\n"),
    ("cp1252", "é\n"),
    ("cp1250", "Zażółć gęślą jaźń\nŁódź;Kraków\n"),
    ("cp1250", "město;počet obyvatel\nPlzeň;170000\nČeské Budějovice;94000\n"),
    ("cp1251", "Привет, мир\n"),
    ("cp1251", "город;население\nМосква;13000000\nКазань;1300000\n"),
    ("koi8_r", "город;население\nМосква;13000000\nКазань;1300000\n"),
    ("cp866", "Привет, мир это текст\n"),
    ("cp932", "都市,人口\n東京,14000000\n大阪,8800000\n"),
    ("cp932", "①②㈱ テスト データ\n"),
    ("euc_jp", "都市,人口\n東京,14000000\n大阪,8800000\n"),
    ("gb18030", "城市,人口\n北京,21540000\n上海,24280000\n"),
    ("gb18030", "你好,世界\n"),
    ("big5", "城市,人口\n臺北,2600000\n高雄,2700000\n"),
    ("cp949", "도시,인구\n서울,9700000\n부산,3400000\n"),
    ("cp1253", "πόλη;πληθυσμός\nΑθήνα;664000\n"),
    ("cp1254", "Şehir;Nüfus\nİstanbul;15000000\nMuğla;1000000\n"),
    ("cp1255", "שלום עולם זה טקסט בעברית\n"),
    ("cp1256", "مرحبا بالعالم هذا نص بالعربية\n"),
    ("cp874", "สวัสดีชาวโลก\n"),
    ("mac_roman", "Café, Müller, naïve, 5 €\n"),
    ("iso2022_jp", "こんにちは、世界\n"),
    ("utf-16-le", "name;größe\nZoë;5\n"),
    ("utf-16-be", "name;größe\nZoë;5\n"),
    ("utf-32-le", "name;größe\nZoë;5\n"),
]


@pytest.mark.parametrize("encoding", CERTAIN)
def test_a_mark_and_valid_utf_8_are_certain(encoding: str) -> None:
    """The mark is not part of the text, and there is no note."""
    assert decode_file(CERTAIN[encoding].encode(encoding), "a.txt") == (CERTAIN[encoding], ())


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-32-be"])
def test_a_mark_gives_the_byte_order(encoding: str) -> None:
    """Some machines write the high byte first."""
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else codecs.BOM_UTF32_BE

    assert decode_file(mark + "größer".encode(encoding), "a.txt") == ("größer", ())


@pytest.mark.parametrize(("encoding", "text"), GUESSED, ids=lambda value: value[:12])
def test_other_encodings_are_guessed_with_a_note(encoding: str, text: str) -> None:
    """Also from a few words, as in tables."""
    decoded, notes = decode_file(text.encode(encoding), "sales.csv")

    assert decoded == text
    assert len(notes) == 1
    assert notes[0].startswith("sales.csv is not UTF-8; it was read as ")
    assert "guess" in notes[0]


@pytest.mark.parametrize(("encoding", "text"), GUESSED[:-4], ids=lambda value: value[:12])
def test_a_long_file_is_guessed_from_its_non_ascii_lines(encoding: str, text: str) -> None:
    """However late they come."""
    data = b"id,value\n" * 30_000 + text.encode(encoding)

    assert decode_file(data, "a.csv")[0].endswith(text)


@pytest.mark.parametrize(
    "beginning",
    [
        '<?xml version="1.0" encoding="iso-8859-5"?>',
        "<html><head>\n<meta charset='iso-8859-5'>",
        "#!/usr/bin/env python\n# -*- coding: iso-8859-5 -*-",
        "# vim: set fileencoding=iso-8859-5 :",
    ],
)
def test_a_declared_encoding_is_not_a_guess(beginning: str) -> None:
    """XML, HTML and source code declare their encoding."""
    text = f"{beginning}\nПривет\n"

    assert decode_file(text.encode("iso-8859-5"), "a") == (text, ())


def test_a_declared_codec_that_is_not_a_text_encoding_is_ignored() -> None:
    """Python also has other codecs."""
    for name in ("rot13", "unicode_escape", "zlib", "idna", "nonsense"):
        assert decode_file(f"# coding: {name}\ncafé\n".encode("cp1252"), "a")[0].endswith("café\n")


def test_two_encodings_in_one_file_are_decoded() -> None:
    """Lines of another file were appended, or the last character was cut in half."""
    data = "größer, höher, weiter: 東京\n".encode() + "schön\n".encode("cp1252")

    text, notes = decode_file(data, "a.txt")

    assert text == "größer, höher, weiter: 東京\nschön\n"
    assert notes == ("a.txt is UTF-8 except for one place, read as Windows-1252, which is a guess.",)


def test_zero_bytes_in_a_text_are_left_out_with_a_note() -> None:
    """A log that was truncated while it was open begins with them."""
    text, notes = decode_file(b"\0" * 20 + b"12:00 started\n12:01 went on\n", "a.log")

    assert text == "12:00 started\n12:01 went on\n"
    assert notes == ("a.log contains zero bytes (20), which were left out.",)


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(256)) * 4,
        b"\x00\x01\x02",
        b"\x80\x04\x95\x01\x01K\x01.",
        b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00",
        b"\x7fELF\x02\x01\x01" + b"\0" * 60,
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcbH\xcd\xc9",
        b"SQLite format 3\x00\x10\x00\x01\x01\x00@  \x00\x00\x00\x05\x00\x00\x00\x02",
        codecs.BOM_UTF16_LE + b"\0" * 100,
        b"\0" * 100,
    ],
)
def test_binary_files_are_not_text(data: bytes) -> None:
    """Programs, archives and pickles also contain letters."""
    assert decode(data) is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp932", "gb18030", "cp1251"])
def test_a_cut_last_character_does_not_change_the_encoding(encoding: str) -> None:
    """Of a long file, only the beginning is read."""
    text = {"cp1251": "Москва;1\n", "gb18030": "北京市;1\n"}.get(encoding, "東京都;1\n") * 50

    decoded = decode((text + "市").encode(encoding, "ignore")[:-1], is_whole=False)

    assert decoded is not None
    assert decoded.text.startswith(text[:-2])
