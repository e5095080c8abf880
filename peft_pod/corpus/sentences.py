"""Reviews, as people type them, into sentences."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

_TAG = re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]*>", re.DOTALL)
_LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_SPACES = re.compile(r"\s+")
_EYES, _MOUTHS = r"[:;=]", r"[)(DPpOo/\\\]\[|]"
_EMOTICON = rf"(?:{_EYES}['’]?-?{_MOUTHS}+(?!\w)|<3|\^_?\^)"
_STOP = re.compile(rf"(?P<stop>[.!?…]+)(?P<tail>[\"'”’)\]]*(?:\s*{_EMOTICON})*)|(?P<face>\s{_EMOTICON})")
_LAST_TOKEN = re.compile(r"[^\s(\[\"“]*$")
_LONGEST_TOKEN = 40
_NO_SPACE = re.compile(r"\S")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_SMALL_WORD = re.compile(r"[a-z]{2,}")
_NAME_PART = re.compile(r"(?:com|net|org|edu|co|uk|de|pdf|html?|txt|jpe?g|mp[34])\b", re.IGNORECASE)

_BEFORE_A_NAME = frozenset({"mr", "mrs", "ms", "dr", "prof", "st", "mt", "jr", "sr", "rev", "gen", "capt", "sgt"})
"""Abbreviations after which a sentence goes on, whatever follows."""
_BEFORE_A_NUMBER = frozenset({"no", "nos", "fig", "vol", "approx", "ca", "pg", "pp", "ch", "ver", "max", "min", "vs"})
"""Abbreviations after which a number goes on with the sentence; otherwise they are words such as `no`."""
_INSIDE = frozenset(
    {
        "etc", "vs", "approx", "inc", "ltd", "co", "corp", "max", "dept", "est", "ave", "eg", "ie", "e.g", "i.e", "cf",
        "al", "a.m", "p.m", "w",
    }
)  # fmt: skip
"""Abbreviations after which a small letter goes on with the sentence."""
_UNITS = frozenset({"oz", "fl", "ft", "lb", "lbs", "in", "min", "hr", "hrs", "sec"})
"""Likewise after a number; otherwise some of them are words such as `in`."""
_ENDS_IN_NUMBER = re.compile(r"\d[\s\-]*(?:fl\.?\s*)?$")


def clean(review: str) -> str:
    """Undo what web pages do to a text: entities become characters, tags and links go, tags for lines end a line.

    Example:
        >>> clean("It&#39;s <b>1/4&#34;</b> wide &amp; loud<br />See http://a.example")
        'It\\'s  1/4"  wide & loud\\nSee  '
    """
    text = html.unescape(review) if "&" in review else review
    if "<" in text:
        text = _TAG.sub(lambda tag: "\n" if tag[0][1:].lstrip("/").lower().startswith(("br", "p", "li")) else " ", text)
    return _LINK.sub(" ", text)


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences, each on one line with single spaces.

    A sentence ends at `.`, `!`, `?` or the end of a line. It goes on after an abbreviation, an initial, inside a
    number, after the number of a list, and after an ellipsis that a small letter follows. It ends without a space after
    the stop where a word in small letters comes before and a capital or another such word follows (`affordable.I did`),
    and in front of a capital after an emoticon. An emoticon after a stop belongs to the sentence before it.

    Args:
        text: as `clean` returns it.

    Example:
        >>> split_sentences("Works with 1.5 in. cables, e.g. mine.Dr. Bob agrees :) Great!Love it... really. 5 stars")
        ['Works with 1.5 in. cables, e.g. mine.', 'Dr. Bob agrees :)', 'Great!', 'Love it... really.', '5 stars']
    """
    sentences = []
    for line in text.splitlines():
        for piece in _split_line(line):
            sentence = _SPACES.sub(" ", piece).strip()
            if sentence:
                sentences.append(sentence)
    return sentences


def _split_line(line: str) -> Iterator[str]:
    start = 0
    for match in _STOP.finditer(line):
        if _ends(line, start, match):
            yield line[start : match.end()]
            start = match.end()
    yield line[start:]


def _ends(line: str, start: int, match: re.Match[str]) -> bool:
    """Whether the sentence that began at `start` ends with this stop."""
    begins = _NO_SPACE.search(line, match.end())
    if begins is None:
        return False
    following, spaced = begins[0], begins.start() > match.end()
    if match["face"]:
        return following.isupper()
    stop = match["stop"]
    token = _LAST_TOKEN.search(line[max(start, match.start() - _LONGEST_TOKEN) : match.start()])
    before = token[0].lstrip("'‘") if token else ""
    if "!" in stop or "?" in stop:
        # `He (really!) left`: what is in brackets or quotes ends, the sentence does not.
        return not (match["tail"] and following.islower()) and (spaced or bool(match["tail"]) or following.isalnum())
    if not spaced:
        # Without a space, a stop may be part of a number, an address or an abbreviation.
        if _NAME_PART.match(line, match.end()):
            return False
        if following.isupper():
            return len(before) > 1 and before[-1].islower() and not before[-2].isupper()
        return stop == "." and bool(_SMALL_WORD.match(line, match.end())) and bool(_SMALL_WORD.fullmatch(before[-3:]))
    if stop != ".":
        return not following.islower()
    token_start = match.start() - len(before)
    first = _NO_SPACE.search(line, start)
    return not _goes_on(
        line[max(start, token_start - _LONGEST_TOKEN) : token_start],
        before,
        following,
        at_start=first is not None and first.start() == token_start,
    )


def _goes_on(preceding: str, before: str, following: str, *, at_start: bool) -> bool:
    """Whether a single stop after the token `before` is not the end of the sentence."""
    word = before.lower()
    if word in _BEFORE_A_NAME:
        return True
    if word in _BEFORE_A_NUMBER and following.isdigit():
        return True
    if word in _INSIDE or (word in _UNITS and _ENDS_IN_NUMBER.search(preceding)):
        return following.islower()
    if before.isdigit():
        return at_start
    if len(before) == 1:
        return before.isupper() and before != "I"
    return bool(_INITIALS.fullmatch(before)) and following.islower()
