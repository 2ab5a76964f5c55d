"""The documents: the site builds, and no link leads nowhere, on the site or in the repository."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from markdown.extensions.toc import slugify

ROOT = Path(__file__).parents[2]
SITE = pytest.mark.xdist_group("site")  # one process builds it, for all of these


class Page(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]
        self.anchors |= {attributes[name] for name in ("id", "name") if attributes.get(name)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site as ./loom docs does."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-P", "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def is_wrong_elsewhere(link):
    """Return whether an external address is malformed; nothing is fetched."""
    parts = urlsplit(link)
    return parts.scheme not in ("https", "mailto", "data") or " " in link


@SITE
@pytest.mark.long
def test_no_link_of_the_site_leads_nowhere(site, record_property):
    # Themes write links on the error page relative to a server's root.
    paths = [path for path in site.rglob("*.html") if path.name != "404.html"]
    pages = {path: Page(path) for path in paths}
    broken, count = [], 0
    for path, page in pages.items():
        for link in page.links:
            count += 1
            if urlsplit(link).scheme or link.startswith("//"):
                wrong = is_wrong_elsewhere(link)
            else:
                address, anchor = urldefrag(urljoin(path.as_uri(), link))
                target = Path(unquote(urlsplit(address).path))
                target = target / "index.html" if target.is_dir() else target
                known = pages[target].anchors if target in pages else {""}
                wrong = not target.exists() or unquote(anchor) not in known
            if wrong:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken
    assert count > 1000
    record_property("summary", f"docs: {count} links on {len(pages)} pages, {len(broken)} broken")


@SITE
@pytest.mark.long
def test_the_reference_has_every_subcommand_and_module(site):
    command = (site / "reference" / "command.html").read_text()
    for name in ("generate", "build", "swap", "talk", "train", "doctor"):
        assert f'id="gptloom-{name}"' in command
    for module in ("model.golden", "hdl.folded.core", "hdl.unrolled.core", "sim.engines.base"):
        page = Page(site / "reference" / f"{module.rpartition('.')[0]}.html")
        assert f"gptloom.{module}" in page.anchors


def headings(text):
    """Return the anchors of a Markdown file, as both GitHub and the site generate them."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {"", *(slugify(re.sub(r"[`*]", "", heading), "-") for heading in found)}


MARKDOWN = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "model/checkpoints/README.md"]


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_link_in_the_repository_leads_nowhere(path):
    prose = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if urlsplit(link).scheme:
            assert not is_wrong_elsewhere(link), link
            continue
        name, anchor = urldefrag(link)
        target = path.parent / name if name else path
        assert target.exists(), link
        if anchor:
            assert anchor in headings(target.read_text()), link
