"""References in docstrings become links to their targets."""

import runpy
from pathlib import Path

import griffe
import pytest

Roles = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "roles.py"))["Roles"]

MODULES = {
    "a.py": '"""A."""\nclass Near:\n    """A `size`."""\n    def run(self):\n        """Run."""',
    "b.py": '"""B."""\nclass Near:\n    """Another."""\nclass _Hidden:\n    """Not shown."""',
}


@pytest.mark.parametrize(
    ("role", "link"),
    [
        (":class:`.Near`", "[`Near`][package.b.Near]"),  # the nearest of two
        (":meth:`~.Near.run`", "[`Near.run`][package.a.Near.run]"),
        (":attr:`.Near.size`", "[`Near.size`][package.a.Near]"),  # its class tells of it
        (":mod:`package.a`", "[`package.a`][package.a]"),
        (":class:`._Hidden`", "`_Hidden`"),  # exists, but has no place in the reference
        (":class:`.Nobody`", "[`Nobody`][Nobody]"),  # of which the build complains
        (":attr:`.Near.nothing`", "[`Near.nothing`][Near.nothing]"),
    ],
)
def test_a_reference_is_a_link(role, link):
    modules = MODULES | {"b.py": MODULES["b.py"] + f'\ndef use():\n    """See {role}."""\n'}
    extensions = griffe.load_extensions(Roles)
    with griffe.temporary_visited_package(
        "package", modules, init='"""Package."""', extensions=extensions
    ) as package:
        assert package["b.use"].docstring.value == f"See {link}."
