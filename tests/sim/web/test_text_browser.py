"""The page that writes text in a real browser: what it shows is the golden model's."""

from itertools import islice
from pathlib import Path

import pytest
from browsing import fill, number, opened, seek, text

from gptloom.cli.cores import load_plain
from gptloom.cli.main import main
from gptloom.model.checkpoint import save_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.golden import GoldenModel
from verification.llama import make_checkpoint, with_pieces

pytestmark = [
    pytest.mark.browser, pytest.mark.nightly, pytest.mark.xdist_group("text browser")
]  # fmt: skip

CONFIG = ModelConfig(
    1, 8, 2, 12, 16, 9, family="llama", positions="rotary", kv_heads=1, tied=True
)  # fmt: skip
PICTURE = Path("build/web/text.png")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "pieces.safetensors"
    save_checkpoint(path, with_pieces(make_checkpoint(CONFIG, 3)))
    return str(path)


@pytest.fixture(scope="module")
def address(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    assert main(["web", "--checkpoint", checkpoint, "--lanes", "32", "--build", str(folder)]) == 0
    return (folder / "index.html").as_uri()


@pytest.fixture
def browser(chromium, address):
    """Return a page that writes."""

    def writes(browser):
        return text(browser, "tokens") not in ("", "0")

    with opened(chromium, address, writes, "nothing is written") as page:
        yield page


def golden(model, seed, temperature, prompt):
    """Return the text of one document, prompt included, and its number of tokens."""
    known = model.tokenizer.encode(prompt)
    tokens = []
    for token in islice(GoldenModel(model).generate(seed, temperature, known), CONFIG.context):
        tokens.append(token.token)
        if token.last:
            break
    shown = [token for token in (*known, *tokens) if token != model.tokenizer.bos]
    return model.tokenizer.decode(shown), len(tokens)


@pytest.mark.parametrize(("seed", "temperature", "prompt"), [(5, 1.0, "ab"), (77, 2.0, "b a")])
def test_a_text_is_the_golden_models(browser, checkpoint, seed, temperature, prompt):
    expected, count = golden(load_plain(checkpoint, {}), seed, temperature, prompt)
    fill(browser, "prompt", prompt)
    fill(browser, "temperature", round(10 * temperature))
    fill(browser, "seed", str(seed))
    browser.find_element("css selector", "#ask button.primary").click()

    def ended(browser):
        story = browser.find_element("id", "story")
        return story.get_attribute("data-ended") == "true" and number(browser, "tokens") == count

    seek(browser, ended, "the text does not end")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(PICTURE))
    assert text(browser, "known") + text(browser, "writing") == expected
    assert number(browser, "cycle") > 0


@pytest.mark.parametrize(("prompt", "says"), [("x", "leave it out"), ("b" * 40, "shorten it")])
def test_what_is_wrong_is_said_beside_the_field(browser, prompt, says):
    fill(browser, "prompt", prompt)
    assert says in text(browser, "prompt-message")
