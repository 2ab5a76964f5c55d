"""The page in a real browser: headless Chromium, driven like a user."""

import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from browsing import emulate, fill, number, opened, seek, text

from gptloom.cli.main import main
from gptloom.model.golden import GoldenModel
from gptloom.sim.panels import HD44780Model

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

PICTURES = Path("build/web")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    assert main(["web", "--build", str(folder)]) == 0
    return (folder / "index.html").as_uri()


@pytest.fixture
def browser(chromium, address):
    """Return a running page."""

    def is_loaded(browser):
        return browser.find_element("id", "pause").is_enabled()

    with opened(chromium, address, is_loaded, "the chip is not loaded") as page:
        yield page


def ask(browser, seed, temperature, prompt):
    fill(browser, "prompt", prompt)
    fill(browser, "temperature", round(10 * temperature))
    fill(browser, "seed", str(seed))
    return text(browser, "command")


def names_shown(browser, command, count):
    """Return the list's names once it has enough of the requested ones."""

    def find(browser):
        asked, names = browser.execute_script(
            "const list = document.getElementById('names');"
            "return [list.dataset.asked, [...list.children].map((item) => item.textContent)]"
        )
        return names if asked == command and len(names) >= count else None

    return seek(browser, find, f"no {count} names of {command}")


def golden_documents(model, seed, temperature, prompt):
    """Yield documents as text, prompt included."""
    known = model.tokenizer.encode(prompt)
    document = prompt
    for token in GoldenModel(model).generate(seed, temperature, known):
        if token.token != model.tokenizer.bos:
            document += model.tokenizer.decode([token.token])
        if token.last:
            yield document
            document = prompt


ASKED = [
    (1, 0.7, ""),
    (7, 0.5, "mar"),
    (9, 0, "a"),
    (3, 2.0, "abcdefghijklmno"),
    (4294967295, 1, "z"),
]


@pytest.mark.parametrize(("seed", "temperature", "prompt"), ASKED)
def test_names_are_the_golden_models(browser, model, seed, temperature, prompt):
    command = ask(browser, seed, temperature, prompt)
    expected = list(islice(golden_documents(model, seed, temperature, prompt), 20))
    assert names_shown(browser, command, 20) == expected


def test_settings_change_while_it_runs(browser, model):
    for seed, temperature, prompt in ASKED:
        command = ask(browser, seed, temperature, prompt)
        expected = list(islice(golden_documents(model, seed, temperature, prompt), 5))
        assert names_shown(browser, command, 5)[:5] == expected


def test_the_display_reads_the_name(browser, model):
    ask(browser, 1, 0, "mar")
    name = next(golden_documents(model, 1, 0, "mar"))
    seek(
        browser,
        lambda b: (
            b.execute_script("return document.getElementById('panel').dataset.shown")
            == f"{name}|0 tokens/s"
        ),
        f"the display does not show {name}",
    )
    assert name in browser.find_element("id", "panel").get_attribute("aria-label")


def paused(browser):
    """Power off and on, and pause."""
    pause = browser.find_element("id", "pause")
    pause.click()
    browser.find_element("id", "reset").click()
    seek(browser, lambda b: number(b, "cycle") == 0, "the cycles do not begin anew")
    assert pause.text == "Run"


def step(browser, unit):
    before = number(browser, "cycle")
    browser.find_element("id", f"step-{unit}").click()
    seek(browser, lambda b: number(b, "cycle") > before, "the clock stands still")
    return number(browser, "cycle") - before


def test_it_goes_on_by_cycle_and_by_token(browser, model):
    paused(browser)
    for _ in range(3):
        assert step(browser, "cycle") == 1
    written = ""
    name = next(golden_documents(model, 1, 0.7, ""))
    step(browser, "token")
    for place in range(1, len(name) + 1):
        written = text(browser, "writing")
        assert written == name[:place]
        assert 200 < step(browser, "token") < 600
    assert names_shown(browser, text(browser, "command"), 1) == [name]
    browser.find_element("id", "pause").click()
    names_shown(browser, text(browser, "command"), 20)


def test_attention_is_the_golden_models(browser, model):
    """Every weight of a name, to the four digits of the table."""
    paused(browser)
    browser.find_element("css selector", "details summary").click()
    traces = []

    def receive(document, position):
        values = {}
        traces.append(values)
        return lambda layer, site, value: values.__setitem__((layer, site), value)

    golden = GoldenModel(model).generate(1, 0.7, (), receive)
    for token in golden:
        step(browser, "token")
        if token.last:
            break
    heads = model.config.heads
    tables = browser.execute_script(
        "return [...document.querySelectorAll('#tables table')].map((table) =>"
        "[...table.rows].slice(1).map((row) =>"
        "[...row.querySelectorAll('td')].map((cell) => cell.textContent)))"
    )
    assert len(tables) == heads
    rows = [values[0, "numerator"].reshape(-1, heads) for values in traces[: len(tables[0])]]
    for head, table in enumerate(tables):
        assert table == [
            [f"{weight / numerators[:, head].sum():.4f}" for weight in numerators[:, head]]
            for numerators in rows
        ]


def test_the_panel_is_decoded_as_in_python(browser):
    """Random levels of the pins, including all kinds of instructions."""
    random = np.random.default_rng(1)
    panel = HD44780Model(1e-9, strict=False)
    levels = []
    beginning = [(0, 0x3), (0, 0x3), (0, 0x3), (0, 0x2), (0, 2), (0, 8), (0, 0), (0, 0xF)]
    others = zip(random.random(3000) < 0.7, random.integers(0, 16, 3000), strict=True)
    for rs, nibble in [*beginning, *others]:
        levels += [(int(rs), e, int(nibble)) for e in (0, 1, 0)]
    browser.execute_script("window.tried = new CharacterPanel()")
    shown = 0
    for begin in range(0, len(levels), 60):
        piece = levels[begin : begin + 60]
        for rs, e, d in piece:
            panel.step(rs=rs, e=e, d=d)
        found = browser.execute_script(
            "for (const [rs, e, d] of arguments[0]) window.tried.feed(rs, e, d);"
            "const text = window.tried.codes().map(panelCharacter).join('');"
            "return window.tried.isShown ? [text.slice(0, 16), text.slice(16)] : null",
            piece,
        )
        assert found == (list(panel.lines) if panel.lines else None)
        shown += found is not None
    assert shown > 20


def test_what_is_wrong_is_said_beside_the_field(browser, model):
    command = text(browser, "command")
    for field, value, says in [
        ("prompt", "José", "The model does not know “J”"),
        ("prompt", "abcdefghijklmnop", "there is room for 15: shorten it"),
        ("seed", "0", "from 1 to 4294967295"),
        ("seed", "", "from 1 to 4294967295"),
    ]:
        fill(browser, field, value)
        assert says in text(browser, f"{field}-message")
        assert browser.find_element("id", field).get_attribute("aria-invalid") == "true"
        # The last valid settings still run.
        assert text(browser, "command") == command
        fill(browser, field, "1" if field == "seed" else "")
        assert text(browser, f"{field}-message") == ""


@pytest.mark.nightly
def test_signals_can_be_chosen(browser):
    boxes = browser.find_elements("css selector", "#signals input")
    browser.find_element("id", "signal").send_keys("core counters")
    browser.find_element("css selector", "#add button").click()
    assert "has no signal" in text(browser, "signal-message")
    field = browser.find_element("id", "signal")
    field.clear()
    field.send_keys("core control flushing")
    browser.find_element("css selector", "#add button").click()
    assert len(browser.find_elements("css selector", "#signals input")) == len(boxes) + 1
    boxes[0].click()
    browser.find_element("id", "pause").click()
    step(browser, "cycle")
    seek(browser, lambda b: text(b, "value of core control flushing").isdigit())
    seek(browser, lambda b: text(b, "value of core control start") == "")


def test_all_that_can_be_used_has_a_name(browser):
    """All controls have names for assistive technology; and the page works by keyboard."""
    from selenium.webdriver.common.keys import Keys

    roles = {"button", "textbox", "slider", "spinbutton", "combobox", "checkbox", "image", "table"}
    browser.find_element("css selector", "details summary").click()
    seek(browser, lambda b: b.find_elements("css selector", "#tables table"))
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    seen = [
        (node["role"]["value"], node.get("name", {}).get("value", "").strip())
        for node in tree
        if not node["ignored"] and node["role"]["value"] in roles
    ]
    assert {role for role, _ in seen} >= roles - {"image"}
    assert [role for role, name in seen if not name] == []
    for key in (Keys.SPACE, Keys.ENTER):
        pause = browser.find_element("id", "pause")
        before = pause.text
        pause.send_keys(key)
        assert pause.text != before


@pytest.mark.nightly
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("device", "width"), [("phone", 360), ("desktop", 1280)])
def test_it_fits(browser, device, width, scheme):
    """There is no horizontal scrolling; and pictures are kept for inspection."""
    emulate(browser, width, 900, scheme)
    ask(browser, 1, 0.7, "mar")
    seek(
        browser,
        lambda b: "mar" in b.execute_script(
            "return document.getElementById('panel').dataset.shown ?? ''"
        ),
    )  # fmt: skip
    theme = browser.execute_script("return document.documentElement.dataset.theme")
    assert theme == scheme
    size = "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    wide, tall = browser.execute_script(size)
    assert wide <= width
    emulate(browser, width, tall, scheme)
    browser.find_element("id", "pause").click()
    step(browser, "token")
    PICTURES.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(PICTURES / f"{device}-{scheme}.png"))
    browser.find_element("id", "theme").click()
    assert browser.execute_script("return document.documentElement.dataset.theme") != scheme


@pytest.mark.nightly
def test_less_motion_is_respected(browser):
    emulate(browser, motion="reduce")
    changes = browser.execute_async_script(
        "const done = arguments[0]; let changes = 0; let before = '';"
        "const timer = setInterval(() => {"
        "  const now = document.getElementById('cycle').textContent;"
        "  changes += now !== before; before = now; }, 20);"
        "setTimeout(() => { clearInterval(timer); done(changes); }, 3000)"
    )
    assert 1 < changes <= 7


def worker_seconds(process):
    """Return the CPU seconds that workers below a process have taken so far."""
    total = 0.0
    for thread in Path(f"/proc/{process}/task").iterdir():
        if (thread / "comm").read_text().startswith("DedicatedWorker"):
            times = (thread / "stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, times[11:13])) / os.sysconf("SC_CLK_TCK")
        total += sum(map(worker_seconds, (thread / "children").read_text().split()))
    return total


@pytest.mark.nightly
def test_how_fast_it_is(browser, chromium):
    """Measure the figures of docs/web.md, in CPU time because the machine may be shared."""
    assert Path("/proc/self/task").is_dir(), "a thread's CPU time is read in Linux's /proc"
    process = chromium.service.process.pid
    # The browser optimises only code that has run for a while.
    seek(browser, lambda b: number(b, "cycle") > 1_000_000)
    cycles, seconds = number(browser, "cycle"), worker_seconds(process)
    seek(browser, lambda b: worker_seconds(process) > seconds + 2)
    cycles, seconds = number(browser, "cycle") - cycles, worker_seconds(process) - seconds
    rate = cycles / seconds
    each = float(text(browser, "cycles-token"))
    print(f"\n{rate:,.0f} cycles/s, {rate / each:,.0f} tokens/s, {80e6 / rate:.0f} times slower")
    assert rate > 200_000
