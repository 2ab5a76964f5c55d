"""A hook of MkDocs: the reference of the command and of the packages, from their docstrings."""

import tomllib
from pathlib import Path

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
FOLDER = "reference"

INTRODUCTION = """\
# Reference

- [The command](command.md): every subcommand with its options.
- The packages, each with all its modules:

"""


def on_startup(**_) -> None:
    """Link the package's folders by their names, before they are looked up."""
    package = ROOT / "build" / "docs" / "gptloom"
    package.mkdir(parents=True, exist_ok=True)
    for name in packages():
        folder = package / name
        if "." not in name and not folder.exists():
            folder.symlink_to(ROOT / name, target_is_directory=True)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the reference to the navigation."""
    pages = [{f"gptloom.{name}": f"{FOLDER}/{name}.md"} for name in packages()]
    command = {"The command": f"{FOLDER}/command.md"}
    config.nav.append({"Reference": [f"{FOLDER}/index.md", command, *pages]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    listing = "".join(f"    - [gptloom.{name}]({name}.md)\n" for name in packages())
    pages = {"index": INTRODUCTION + listing, "command": command_page()}
    pages |= {name: package_page(name) for name in packages()}
    for name, content in pages.items():
        files.append(File.generated(config, f"{FOLDER}/{name}.md", content=content))
    return files


def packages() -> list[str]:
    """Return every package's name without ``gptloom.``, as the project says."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = [name.removeprefix("gptloom.") for name in project["tool"]["setuptools"]["packages"]]
    return [name for name in names if name != "cli"]  # it is the command


def package_page(name: str) -> str:
    """Return the page of a package and its modules."""
    folder = ROOT / name.replace(".", "/")
    modules = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    parts = [f"# gptloom.{name}", f"::: gptloom.{name}\n    options: {{show_root_heading: false}}"]
    parts += [f"::: gptloom.{name}.{module}" for module in modules]
    return "\n\n".join(parts) + "\n"


def command_page() -> str:
    """Return the page of the command, as Typer describes it."""
    from typer.cli import get_docs_for_click

    from gptloom.cli.main import app

    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="gptloom")
    return get_docs_for_click(obj=command, ctx=context, name="gptloom", title="The command")
