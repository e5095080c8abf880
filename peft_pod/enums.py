"""Adding a member to an enumeration that another package defines."""

from __future__ import annotations

import enum
from typing import Any, TypeVar

_Enumeration = TypeVar("_Enumeration", bound=enum.Enum)


def add_enum_member(enumeration: type[_Enumeration], name: str, value: str) -> _Enumeration:
    """Add a member to a string enumeration, as if its class body had it.

    PEFT keeps the names of its methods in an enumeration and offers no way to extend it. Adding a member that is
    already there, with the same value, returns the one that is there.

    Args:
        enumeration: a class whose members are strings (`class PeftType(str, Enum)`).
        name: name of the new member.
        value: its value.

    Raises:
        TypeError: the members are not strings.
        ValueError: the name is taken by another value, or the value by another name.

    Example:
        >>> class Colour(str, enum.Enum):
        ...     RED = "RED"
        >>> add_enum_member(Colour, "BLUE", "BLUE") is Colour("BLUE") is Colour["BLUE"]
        True
        >>> [colour.name for colour in Colour]
        ['RED', 'BLUE']
    """
    if not issubclass(enumeration, str):
        raise TypeError(f"{enumeration.__name__} is not an enumeration of strings")
    existing = enumeration.__members__.get(name)
    if existing is not None and existing.value == value:
        return existing
    if existing is not None or value in enumeration._value2member_map_:
        raise ValueError(
            f"{enumeration.__name__} already has the name {name!r} or the value {value!r} for another member"
        )

    member: Any = str.__new__(enumeration, value)
    member._name_ = name
    member._value_ = value
    member.__objclass__ = enumeration
    member._sort_order_ = len(enumeration._member_names_)
    # Python 3.12 and newer look members up as class attributes, older ones in the map; setting the attribute after the
    # map has the name is refused by the metaclass.
    type.__setattr__(enumeration, name, member)
    enumeration._member_names_.append(name)
    enumeration._member_map_[name] = member
    enumeration._value2member_map_[value] = member
    hashable_values = getattr(enumeration, "_hashable_values_", None)
    if hashable_values is not None:  # Python 3.13 and newer answer `value in enumeration` from here
        hashable_values.append(value)
    return member
