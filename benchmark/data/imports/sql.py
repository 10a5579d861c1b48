"""The importer's rules as SQL expressions over a text `x`."""

from __future__ import annotations


def text(x: str, unescape: bool) -> str:
    """Trimmed text, never NULL; HTML entities as the characters that they stand for where asked."""
    trimmed = f"trim(coalesce({x}, ''))"
    return (
        f"CASE WHEN contains({x}, '&') THEN trim(unescaped({x})) ELSE {trimmed} END" if unescape else trimmed
    )


def entities(x: str) -> str:
    """A text with HTML entities as the characters that they stand for; NULL stays NULL."""
    return f"CASE WHEN contains({x}, '&') THEN unescaped({x}) ELSE {x} END"


def number(x: str) -> str:
    """A whole number >= 0 that is written as `12`, `12.0` or `1,234`; NULL for anything else."""
    plain = f"regexp_replace(trim({x}), '\\.0+$', '')"
    thousands = "'\\d{1,3}(,\\d{3})+'"
    grouped = (
        f"CASE WHEN regexp_full_match({plain}, {thousands}) THEN replace({plain}, ',', '') ELSE {plain} END"
    )
    return f"CASE WHEN regexp_full_match({grouped}, '\\d{{1,18}}') THEN try_cast({grouped} AS BIGINT) END"


def votes(x: str) -> str:
    """The number of helpful votes: of `[up, total]` the first, 0 where there is nothing; NULL for what is none."""
    pair = "'\\[\\s*\\d+\\s*,\\s*\\d+\\s*\\]'"
    first = f"CASE WHEN regexp_full_match(trim({x}), {pair}) THEN regexp_extract({x}, '\\d+') ELSE {x} END"
    return f"CASE WHEN {x} IS NULL OR trim({x}) = '' THEN 0 ELSE {number(first)} END"


LABEL_OF_VOTES = (
    "CASE WHEN votes >= 16 THEN 4 WHEN votes >= 8 THEN 3 WHEN votes >= 4 THEN 2 WHEN votes >= 2 THEN 1 "
    "ELSE 0 END"
)
"""min(4, floor(log2 v)), as in the released code; 0 for v = 0, which is dropped unless asked otherwise."""


def unfit(x: str) -> str:
    """Whether a text is no id: ids name folders and stand in tables with one row a line."""
    return (
        f"({x} IS NULL OR {x} IN ('', '.', '..') OR length({x}) > 128 "
        f"OR regexp_matches({x}, '[/\\\\\\x00-\\x1f\\x7f-\\x9f\\x{{2028}}\\x{{2029}}]'))"
    )


def slug(x: str) -> str:
    """A category's name for its folder, of any text: small letters, digits and dashes."""
    plain = f"left(trim(regexp_replace(lower(strip_accents(coalesce({x}, 'all'))), '[^a-z0-9]+', '-', 'g'), '-'), 60)"
    named = f"CASE WHEN {plain} = '' THEN 'other' ELSE {plain} END"
    return f"CASE WHEN regexp_full_match({named}, 'con|prn|aux|nul|(com|lpt)\\d') THEN 'c-' || {named} ELSE {named} END"


def joined(x: str) -> str:
    """A description that is a JSON list of texts as one text."""
    is_list = f"starts_with({x}, '[') AND coalesce(try(json_type({x}) = 'ARRAY'), false)"
    return f"CASE WHEN {is_list} THEN array_to_string(json_extract_string({x}, '$[*]'), ' ') ELSE {x} END"


def images(x: str) -> str:
    """A list of image addresses: of a JSON list of texts or of objects (the largest size each has), or of a text
    with `|`, `,` or blanks between them (as `benchmark.data.fetch.urls` reads it)."""
    sizes = ", ".join(
        f"one->>'$.{size}'" for size in ("hi_res", "large_image_url", "large", "medium_image_url", "thumb")
    )
    is_list = f"starts_with({x}, '[') AND coalesce(try(json_type({x}) = 'ARRAY'), false)"
    of_list = (
        f"list_filter(list_transform(json_extract({x}, '$[*]'), lambda one: "
        f"CASE WHEN json_type(one) = 'OBJECT' THEN coalesce({sizes}) ELSE one->>'$' END), lambda one: one IS NOT NULL)"
    )
    # a comma within an address (Amazon's have some) separates nothing
    apart = f"regexp_replace(coalesce({x}, ''), '[|,\\s]+((https?:)?//)', chr(10) || '\\1', 'g')"
    of_text = f"list_filter(string_split({apart}, chr(10)), lambda one: trim(one) <> '')"
    return f"CASE WHEN {is_list} THEN {of_list} ELSE {of_text} END"
