"""ID schemes by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from .base import Indexing

_SCHEMES: dict[str, type[Indexing]] = {}
Scheme = TypeVar("Scheme", bound=type[Indexing])


def register_indexing(scheme: Scheme) -> Scheme:
    """Make a scheme known by its name; a decorator.

    Raises:
        ValueError: another scheme has the name.
    """
    registered = _SCHEMES.setdefault(scheme.name, scheme)
    if registered is not scheme:
        where = f"{registered.__module__}.{registered.__qualname__}"
        raise ValueError(f"there is already an indexing {scheme.name!r}: {where}")
    return scheme


def available_indexings() -> list[str]:
    """Names of the schemes that `load_indexing` knows, in alphabetical order.

    Example:
        >>> "random" in available_indexings()
        True
    """
    return sorted(_SCHEMES)


def load_indexing(name: str, **options: Any) -> Indexing:
    """Make a scheme by name; its words come with `fit`.

    Args:
        name: one of `available_indexings()`.
        **options: arguments of the scheme's class.

    Raises:
        ValueError: no scheme has the name, or it does not take such options.

    Example:
        >>> load_indexing("random", pad=False).options()
        {'pad': False, 'users': 'index'}
    """
    scheme = _scheme(name)
    try:
        return scheme(**options)
    except TypeError as error:
        raise ValueError(f"indexing {name!r} does not take the options {sorted(options)}: {error}") from error


def indexing_from_dict(data: Mapping[str, Any]) -> Indexing:
    """Restore what `Indexing.to_dict` gave, whichever scheme it was.

    Raises:
        ValueError: the scheme is unknown, or see `Indexing.from_dict`.
    """
    if "name" not in data:
        raise ValueError(f"this is no saved indexing: it lacks 'name'; it has {sorted(data)}")
    return _scheme(data["name"]).from_dict(data)


def _scheme(name: str) -> type[Indexing]:
    if name not in _SCHEMES:
        raise ValueError(
            f"unknown indexing {name!r}; known are {available_indexings()}. Register your own by register_indexing"
        )
    return _SCHEMES[name]
