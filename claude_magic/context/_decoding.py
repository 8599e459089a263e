"""Decodes the bytes of a file: certain encodings first, then a guess that is reported.

A byte order mark, valid UTF-8 and an encoding declared in the file are certain. Otherwise the text is rated for unusual
characters. Windows-1252, the encoding of most such files in Western languages, is taken if its rating is good; else the best
of the common encodings; else the guess of `charset-normalizer`.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_MARKS: Final = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_NAMES: Final[Mapping[str, str]] = {
    "cp1252": "Windows-1252 (Western)", "cp1250": "Windows-1250 (Central European)", "cp1251": "Windows-1251 (Cyrillic)",
    "cp1253": "Windows-1253 (Greek)", "cp1254": "Windows-1254 (Turkish)", "cp1255": "Windows-1255 (Hebrew)",
    "cp1256": "Windows-1256 (Arabic)", "koi8_r": "KOI8-R (Cyrillic)", "koi8_u": "KOI8-U (Cyrillic)", "cp866": "CP866 (Cyrillic)",
    "cp932": "Shift-JIS (Japanese)", "euc_jp": "EUC-JP (Japanese)", "gb18030": "GB18030 (Chinese)", "big5": "Big5 (Chinese)",
    "cp949": "EUC-KR (Korean)", "cp874": "Windows-874 (Thai)", "iso8859_2": "ISO 8859-2 (Central European)", "latin_1": "Latin-1", "mac_roman": "Mac Roman",
    "cp850": "CP850 (Western)", "cp1257": "Windows-1257 (Baltic)",
    "iso2022_jp": "ISO-2022-JP (Japanese)", "utf-16-le": "UTF-16 without its mark", "utf-16-be": "UTF-16 without its mark",
    "utf-32-le": "UTF-32 without its mark", "utf-32-be": "UTF-32 without its mark",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Script:
    """The characters that are usual in one encoding.

    Attributes:
        frequent: The frequent characters.
        possible: Other characters that occur; all others are odd.
        common: In encodings of two bytes per character, the first bytes of the common ideographs and syllables.
    """

    frequent: str
    possible: str = ""
    common: range | None = None

    def oddity(self, char: str, encoding: str) -> float:
        """Return the oddity of one character; 0 for an expected one."""
        if char in self.frequent:
            return 0.0
        if self.common is None:
            return 0.3 if char in self.possible else 1.0
        # Half-width kana: any two bytes of other encodings may look like them.
        if "\uff61" <= char <= "\uff9f":
            return 0.2
        written = char.encode(encoding, "ignore")
        return 0.1 if len(written) == 2 and written[0] in self.common else 0.6


_RUSSIAN: Final = "оеаинтсрвлкмдпуябОЕАИНТСРВЛКМДПУЯБ"
_RARELY_RUSSIAN: Final = "гзыьйчхжшюцщэфъёГЗЫЬЙЧХЖШЮЦЩЭФЪЁіїєґІЇЄҐўЎ"
_QUOTES: Final = "“”„’–—…"
_CJK_MARKS: Final = "℃～…“”、。，：；！？（）「」・ー　《》％"
_KANA: Final = "".join(map(chr, (*range(0x3041, 0x3097), *range(0x30A1, 0x30F7))))
_JAPANESE: Final = (
    "日本人年大市都東京県区町山田中小名前月時分上下会社学生番号商品価格合計金額数量地域" + _KANA + _CJK_MARKS
)
_SIMPLIFIED: Final = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多"
    "经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又"
    "关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教"
    "儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德"
    "资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规"
    "万取拉格望觉术领共确传师观清今切院让识候带导争运城京姓龄价单号" + _CJK_MARKS
)
_TRADITIONAL: Final = (
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然家種事成方多"
    "經去法學如都同現當沒動面起看定天分還進好小部其些主樣理心本前開但因只從想實日者意無力它與長把機十民第公此已工使情明性知全三又"
    "關點正業外將兩高間由問很最重並物手應向頭文體美相見被利什二等產或新制身果加西月話合回特代內信表化老給世位次度門常先海通教名市區臺"
    "北雄口城測試單價量號" + _CJK_MARKS
)
_KOREAN: Final = (
    "이다는가에의하고을를도지로사기인서어한나대자리은정시아해일수구부전라장원상보제동유과성주조선만여우스트민오있것들안그게세마국신중영진산"
    "화년월명금계번호녕요품격량울천광" + _CJK_MARKS
)
_WESTERN: Final = "äöüßÄÖÜéèêàâçîïôÉÈÀÇñáíóúÑÁÍÓÚ¿¡åæÅÆã"
_SCRIPTS: Final[Mapping[str, _Script]] = {
    "cp1252": _Script(
        frequent=_WESTERN + "€£°±µ²³§©®™·×½º«»‘•‰" + _QUOTES,
        possible="ùÙìÌòÒøØõÕûÛëËÂÊÎÔœŒýÝðþÐÞÿª¼¾¢¥¬÷¹´¦†‡",
    ),
    "cp1250": _Script(
        frequent="ąćęłńóśźżĄĆĘŁŃÓŚŹŻáčéěíňřšťúůýžÁČÉĚÍŇŘŠŤÚŮÝŽőűŐŰöüÖÜ€°§" + _QUOTES,
        possible="ďĎäâăîşţŞŢÂĂÎđĐľĽĺŕôÄ×÷«»µ±·©®™",
    ),
    "cp1254": _Script(frequent="çğıöşüÇĞİÖŞÜ€°" + _QUOTES, possible="âîûÂÎÛ±µ²³§©®™·×½«»"),
    "cp1251": _Script(
        frequent=_RUSSIAN + "№€°«»" + _QUOTES, possible=_RARELY_RUSSIAN + "јљњћђџЈЉЊЋЂЏ±§©®™·µ"
    ),
    "koi8_r": _Script(frequent=_RUSSIAN, possible=_RARELY_RUSSIAN + "°©·"),
    "koi8_u": _Script(frequent=_RUSSIAN + "іїєІЇЄ", possible=_RARELY_RUSSIAN + "°©·"),
    "cp866": _Script(frequent=_RUSSIAN + "№", possible=_RARELY_RUSSIAN + "°·"),
    "cp932": _Script(frequent=_JAPANESE, common=range(0x88, 0x98)),
    "euc_jp": _Script(frequent=_JAPANESE, common=range(0xB0, 0xD0)),
    "gb18030": _Script(frequent=_SIMPLIFIED, common=range(0xB0, 0xD8)),
    "cp949": _Script(frequent=_KOREAN, common=range(0xB0, 0xC9)),
    "big5": _Script(frequent=_TRADITIONAL, common=range(0xA4, 0xC7)),
    "mac_roman": _Script(frequent=_WESTERN + "€°" + _QUOTES, possible="ùìòøØõûëœ£©®±µ•"),
    "cp850": _Script(frequent=_WESTERN, possible="ùìòøØõûë£°±µ²½"),
    "cp1253": _Script(
        frequent="αοιετσηρνυπκλμςάέίόώήύΑΟΙΕΤΣΗΡΝΥΠΚΛΜΆΈΊΌΏΉΎ€«»°·" + _QUOTES,
        possible="βγδζθξφχψωϊϋΐΰΒΓΔΖΘΞΦΧΨΩ§©±",
    ),
    "cp1255": _Script(frequent="יוהלארתבשמנעחקדפגכםן₪" + _QUOTES, possible="זטךסףץצ־׳״€°"),
    "cp1256": _Script(frequent="ايلمنورتبةعدسفهكقحجأشطصخى،" + _QUOTES, possible="إآءؤئثذزضظغـ؛؟ًٌٍَُِّْپچژگ€°"),
    "cp874": _Script(
        frequent="นรกอทมสวลงดยคปพบตหจชขาเะแโไใิีุูั่้็์",
        possible="".join(map(chr, range(0x0E01, 0x0E5C))) + "€" + _QUOTES,
    ),
    "cp1257": _Script(
        frequent="ąčęėįšųūžĄČĘĖĮŠŲŪŽāēģīķļņĀĒĢĪĶĻŅäöüõÄÖÜÕ€°" + _QUOTES, possible="åæéóńśźżłŁ±µ²«»"
    ),
    "iso8859_2": _Script(
        frequent="ąćęłńóśźżĄĆĘŁŃÓŚŹŻáčéěíňřšťúůýžÁČÉĚÍŇŘŠŤÚŮÝŽőűŐŰöüÖÜ", possible="ďĎäâăîşţđľĺŕô°§×÷"
    ),
}
"""The common encodings of files, the most frequent first."""
_DECLARATION = re.compile(
    rb"(?:<\?xml[^>]{0,200}?encoding=|<meta[^>]{0,200}?charset=|^[^\n]{0,200}?coding[:=])[ \t]{0,9}[\"']?([\w.:-]{2,30})",
    re.IGNORECASE,
)
_DECLARABLE = re.compile(
    r"(?i)(?:cp|windows|iso|koi8|mac|euc|shift|s?jis|gb|big5|utf.?(?:16|32)|latin)[\w.:-]{0,20}"
)
_BINARY = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_ESCAPED = re.compile("[\udc80-\udcff]")
"""Bytes that are not UTF-8, as decoded with `surrogateescape`."""
_WORD = re.compile(r"[^\W\d_]+")
_SYMBOL_IN_WORD = re.compile(
    r"(?<=[^\W\d_])[¹²³¿¡¢£¤¥¦§©ª«¬®°±´µ¶¸º»¼½¾×÷‡ˆ‰‹‚„†•˜™›…](?=[^\W\d_])|[A-Za-z][¹³¿£¥¯](?![\w])"
)
"""A symbol between letters, as in `Za¿ó³æ`."""
_ALONE = re.compile(r"(?<=[A-Za-z ])[\u4e00-\u9fff\uac00-\ud7af\uff61-\uff9f](?=[A-Za-z\s])")
"""A single ideograph between Latin letters or spaces."""
_SAMPLE_BYTES = 20_000
_RIGHT = 0.2
_PLAUSIBLE = 0.5
"""Oddity per non-ASCII character: up to the first limit, Windows-1252 is taken at once; up to the second, the best of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """Text of a file.

    Attributes:
        text: The text.
        doubt: The guess, as the rest of a sentence that begins with the file's name; "" if the encoding is certain.
    """

    text: str
    doubt: str = ""


def decode(data: bytes, *, is_whole: bool = True) -> Decoded | None:
    """Return bytes as text; None if they are not text.

    Args:
        data: The content of a file, or its beginning.
        is_whole: Whether `data` is the whole content; if not, the last character may be incomplete.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _marked(data, encoding, is_whole)
    if b"\0" in data:
        return _with_zeros(data, is_whole)
    text = _strictly(data, "utf-8", is_whole)
    if text is None:
        return _not_utf_8(data, is_whole)
    if b"\x1b$" in data and (japanese := _strictly(data, "iso2022_jp", is_whole)) is not None:
        return _guessed(japanese, "iso2022_jp")
    return Decoded(text=text)


def _marked(data: bytes, encoding: str, is_whole: bool) -> Decoded | None:
    text = _strictly(data, encoding, is_whole)
    if text is not None:
        return None if "\0" in text else Decoded(text=text)
    text = data.decode(encoding, "replace")
    if "\0" in text or text.count("\ufffd") > len(text) / 10:
        return None
    return Decoded(text=text, doubt="contains bytes that do not fit its encoding; they are shown as �.")


def _with_zeros(data: bytes, is_whole: bool) -> Decoded | None:
    """Decode UTF-16 and UTF-32 without a mark, by the positions of the zero bytes, and text with a few zero bytes."""
    for encoding, width, place in (
        ("utf-32-le", 4, 0), ("utf-32-be", 4, 3), ("utf-16-le", 2, 0), ("utf-16-be", 2, 1)
    ):  # fmt: skip
        units = max(1, len(data) // width)
        others = [data[at::width] for at in range(width) if at != place]
        if data[place::width].count(0) == 0 and sum(each.count(0) for each in others) > 0.4 * units * len(
            others
        ):
            text = _strictly(data[: len(data) // width * width], encoding, is_whole)
            if text is not None and "\0" not in text and _BINARY.search(text) is None:
                return _guessed(text, encoding)
    zeros = data.count(0)
    rest = data.replace(b"\0", b"")
    if len(rest) < 16 or zeros > len(data) / 2:
        return None
    # A log that was truncated while it was open begins with zero bytes; some exports contain a few.
    text = _strictly(rest, "utf-8", is_whole)
    if (
        text is None
        or _BINARY.search(text) is not None
        or sum(char.isprintable() for char in text) < len(text) / 2
    ):
        return None
    return Decoded(text=text, doubt=f"contains zero bytes ({zeros:,}), which were left out.")


def _not_utf_8(data: bytes, is_whole: bool) -> Decoded | None:
    declared = _declared(data)
    if declared is not None and (text := _strictly(data, declared, is_whole)) is not None:
        return Decoded(text=text)
    if (mixed := _mixed(data)) is not None:
        return mixed
    sample = _sample(data)
    encoding = "cp1252" if _oddity(sample, "cp1252") < _RIGHT else _guess(sample)
    text = _strictly(data, encoding, is_whole)
    if text is None:
        text = data.decode(encoding, "replace")
    return None if _BINARY.search(text) else _guessed(text, encoding)


def _guessed(text: str, encoding: str) -> Decoded:
    name = _NAMES.get(encoding, encoding)
    return Decoded(
        text=text,
        doubt=f"is not UTF-8; it was read as {name}, which is a guess. Save it as UTF-8 to be sure.",
    )


def _strictly(data: bytes, encoding: str, is_whole: bool) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data, final=is_whole)
    except (UnicodeError, LookupError):
        return None


def _declared(data: bytes) -> str | None:
    """Return the encoding declared in the first lines of a file: XML, HTML, `# -*- coding: … -*-`."""
    for line in data[:1024].splitlines()[:20]:
        match = _DECLARATION.search(line)
        name = match[1].decode("ascii", "replace") if match else ""
        if _DECLARABLE.fullmatch(name):
            try:
                return codecs.lookup(name).name
            except LookupError:
                return None
    return None


def _mixed(data: bytes) -> Decoded | None:
    """Decode UTF-8 with a few invalid bytes: joined files, or a character that was cut in half."""
    text = data.decode("utf-8", "surrogateescape")
    wrong = len(_ESCAPED.findall(text))
    right = sum(char > "\x7f" for char in text) - wrong
    if right < 2 * wrong or _BINARY.search(text):
        return None
    text = _ESCAPED.sub(lambda match: bytes([ord(match[0]) - 0xDC00]).decode("cp1252", "replace"), text)
    places = "one place" if wrong == 1 else f"{wrong:,} places"
    return Decoded(text=text, doubt=f"is UTF-8 except for {places}, read as Windows-1252, which is a guess.")


def _sample(data: bytes) -> bytes:
    """Return the lines with bytes beyond ASCII."""
    lines: list[bytes] = []
    size = 0
    for line in data.splitlines(keepends=True):
        if not line.isascii():
            lines.append(line[:_SAMPLE_BYTES])
            size += len(line)
        if size > _SAMPLE_BYTES:
            break
    return b"".join(lines)


def _guess(sample: bytes) -> str:
    """Return the encoding in which the text has the lowest oddity.

    `charset-normalizer` is wrong for half of the files of a few lines, so it is used for the rarer encodings only.
    """
    oddity, best = min(((_oddity(sample, name), name) for name in _SCRIPTS), key=lambda pair: pair[0])
    if oddity < _PLAUSIBLE:
        return best
    import charset_normalizer  # imported late: hardly any file needs it

    match = charset_normalizer.from_bytes(sample, enable_fallback=False).best()
    return "latin_1" if match is None else match.encoding


def _oddity(sample: bytes, encoding: str) -> float:
    """Return the oddity of a text in an encoding, per character that is not ASCII."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeError:
        return 2.0
    foreign = [char for char in text if char > "\x7f"]
    if not foreign:
        return 0.0
    script = _SCRIPTS[encoding]
    odd = sum(script.oddity(char, encoding) for char in foreign)
    if script.common is None:
        words = _WORD.findall(text)
        odd += len(_SYMBOL_IN_WORD.findall(text)) + sum(map(_odd_letters, words))
        if encoding == "cp1252":
            # These usually stand at the end of a word.
            odd += sum(char in "ìòùÌÒÙ" for word in words for char in word[:-1]) / 2
    else:
        odd += len(_ALONE.findall(text))
    return odd / len(foreign)


def _odd_letters(word: str) -> float:
    """Return the oddity of a word: capitals inside it, letters of two scripts, a final letter inside it."""
    foreign = sum(char > "\x7f" for char in word)
    if not foreign:
        return 0.0
    is_latin = {
        char < "\x80" or unicodedata.name(char, "").startswith("LATIN") for char in word if char not in "µªº"
    }
    odd = foreign * float(len(is_latin) > 1)
    odd += foreign * any(first.islower() and second.isupper() for first, second in pairwise(word))
    odd += sum(char in "ךםןףץς" for char in word[:-1])
    if True in is_latin:
        # No word has diacritics on so many letters.
        return odd + (foreign / 2 if foreign > max(3, len(word) * 2 // 3) else 0.0)
    return odd + (0.05 * foreign if word.isupper() and len(word) > 2 else 0.0)
