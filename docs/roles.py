"""An extension of Griffe: references in docstrings (``:class:`.Machine` ``) become links."""

import re
from collections.abc import Iterator

import griffe

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod|obj):`~?\.?([\w.]+)`")


class Roles(griffe.Extension):
    """Resolves references as Sphinx does: by the end of the name, the nearest first."""

    def on_package(self, *, pkg: griffe.Module, **_) -> None:
        """Rewrite the docstrings of a package and all in it."""
        objects = list(_objects(pkg))
        for place in objects:
            if place.docstring:
                place.docstring.value = ROLE.sub(
                    lambda role, path=place.path: _link(role[1], path, objects),
                    place.docstring.value,
                )


def _objects(parent: griffe.Object) -> Iterator[griffe.Object]:
    yield parent
    for member in parent.members.values():
        if not member.is_alias:
            yield from _objects(member)


def _link(name: str, place: str, objects: list[griffe.Object]) -> str:
    owner, _, last = name.rpartition(".")
    # Attributes set when an object is made are documented in its class's docstring.
    found = _named(name, objects) or [
        target
        for target in _named(owner, objects)
        if target.docstring and last in target.docstring.value
    ]
    if not found:
        return f"[`{name}`][{name}]"  # which the build complains of
    nearest = max(found, key=lambda target: _common(target.path, place))
    has_anchor = nearest.is_module or (nearest.has_docstring and not nearest.is_private)
    return f"[`{name}`][{nearest.path}]" if has_anchor else f"`{name}`"


def _named(name: str, objects: list[griffe.Object]) -> list[griffe.Object]:
    return [target for target in objects if name and f".{target.path}".endswith(f".{name}")]


def _common(path: str, other: str) -> int:
    """Count the parts with which both begin."""
    parts = zip(path.split("."), other.split("."), strict=False)
    return next((i for i, (a, b) in enumerate(parts) if a != b), len(path.split(".")))
