"""The templates of the top-N task, by what its input holds beside the user."""

from __future__ import annotations

from typing import NamedTuple

from .template import Template


class Wording(NamedTuple):
    """The templates of one kind of input: the bare one, and the others."""

    bare: Template
    templates: tuple[Template, ...]


CANDIDATES = Wording(
    Template("{user} {candidates}"),
    (
        Template("From {candidates} , choose the one that {user} would take"),
        Template("Only one of these is for {user} : {candidates}"),
        Template("Find the best match for {user} among {candidates}"),
        Template("{user} looks at {candidates} and buys"),
        Template("Out of the shelf {candidates} , what should {user} get ?"),
        Template("Recommend to {user} a single item of {candidates}"),
    ),
)

# The candidates before the history: their number is the same in most questions, so the history begins at one place.
CANDIDATES_AND_HISTORY = Wording(
    Template("{user} {candidates} {history}"),
    (
        Template("From {candidates} , choose the one that {user} would take after {history}"),
        Template("Only one of these is for {user} : {candidates} ; the latest were {history}"),
        Template("Find the best match for {user} among {candidates} , given {history}"),
        Template("{user} looks at {candidates} and buys , as before {history}"),
        Template("Out of the shelf {candidates} , what should {user} get who has {history} ?"),
        Template("Recommend to {user} a single item of {candidates} to follow {history}"),
    ),
)

USER = Wording(
    Template("{user}"),
    (
        Template("Choose the item that {user} would take"),
        Template("Only one item is for {user} :"),
        Template("Find the best match for {user}"),
        Template("{user} looks around and buys"),
        Template("Out of the shelf , what should {user} get ?"),
        Template("Recommend to {user} a single item"),
    ),
)

HISTORY = Wording(
    Template("{user} {history}"),
    (
        Template("Choose the item that {user} would take , who has {history}"),
        Template("Only one item is for {user} ; the latest were {history}"),
        Template("Find the best match for {user} , given {history}"),
        Template("{user} who has {history} looks around and buys"),
        Template("Out of the shelf , what should {user} get who has {history} ?"),
        Template("Recommend to {user} a single item beside {history}"),
    ),
)

WORDINGS = {
    ("prompt", False): CANDIDATES,
    ("prompt", True): CANDIDATES_AND_HISTORY,
    ("trie", False): USER,
    ("trie", True): HISTORY,
}
"""By where the candidates are, and whether there is a history."""
