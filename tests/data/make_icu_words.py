"""Record how ICU breaks words: recorded/icu_words.json, which the tokenizer's tests compare with everywhere.

    pip install PyICU-binary && python tests/data/make_icu_words.py

PyICU-binary has wheels for few Pythons, so that the tests do without it.
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections import defaultdict
from pathlib import Path

FILE = Path(__file__).parent / "recorded" / "icu_words.json"
TEMPLATES = ("a{}b", "1{}2", "a {}'b")
FIRST, LAST = 0x20, 0x2FFF
ALPHABET = (
    "aeiou bcdjkmt'’.,-_0123 \n!?:;\u00a0\u200d😀👍🏽é#/\"\u0301\u00ad·&()%$™\u200bßğاأд①²½♥️❤🇮🇩*`´‘ʼ~+=<>|…—"
)
N_TEXTS = 600
DICTIONARIES = (
    *("THAI", "LAO", "KHMER", "MYANMAR", "HANGUL", "CJK", "HIRAGANA", "KATAKANA", "TAI", "NEW TAI"),
    "AHOM",
)
"""Scripts whose words ICU takes from dictionaries."""
LEFT_OUT = {0x40, *range(0x0590, 0x0600), *range(0x0600, 0x0606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2}
"""`@` joined words in one ICU release only; Hebrew, and number signs of Arabic, are left out."""


def prepared(text: str) -> str:
    """What the released code hands to ICU."""
    return unicodedata.normalize("NFKC", text).lower()


def scanned() -> list[int]:
    """Code points that stand in the three templates."""
    codes = range(FIRST, LAST + 1)
    names = {code: unicodedata.name(chr(code), "") for code in codes}
    return [
        code
        for code in codes
        if names[code] and not names[code].startswith(DICTIONARIES) and code not in LEFT_OUT
    ]


def texts(template: str, code: int) -> str | None:
    """The template with the character, prepared; None where normalisation changes it."""
    text = template.format(chr(code))
    return text.lower() if unicodedata.normalize("NFKC", text) == text else None


def ranges(codes: list[int]) -> list[list[int]]:
    """First and last of each run of consecutive numbers."""
    found: list[list[int]] = []
    for code in codes:
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def main() -> None:
    import icu

    def breaks(text: str) -> list[int]:
        """Ends of ICU's segments, in Python's characters."""
        iterator = icu.BreakIterator.createWordInstance(icu.Locale("id"))
        iterator.setText(icu.UnicodeString(text))
        utf16 = text.encode("utf-16-le")
        return [len(utf16[: 2 * end].decode("utf-16-le")) for end in iterator]

    by_breaks: dict[str, list[int]] = defaultdict(list)
    for code in scanned():
        made = [texts(template, code) for template in TEMPLATES]
        by_breaks[json.dumps([text and breaks(text) for text in made])].append(code)
    random_ = random.Random(0)
    drawn = ["".join(random_.choices(ALPHABET, k=random_.randint(1, 30))) for _ in range(N_TEXTS)]
    content = {
        "icu": icu.ICU_VERSION,
        "unicode": icu.UNICODE_VERSION,
        "templates": TEMPLATES,
        "characters": [[json.loads(key), ranges(codes)] for key, codes in by_breaks.items()],
        "texts": [[prepared(text), breaks(prepared(text))] for text in drawn],
    }
    FILE.write_text(json.dumps(content, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
