"""Driving a page in headless Chromium like a user."""

from contextlib import contextmanager

PATIENCE = 300
"""Timeout in seconds: two cores may be busy with other work, and the display waits milliseconds."""


def seek(browser, condition, message=""):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, PATIENCE, 0.1).until(condition, message)


def emulate(browser, width=1280, height=900, scheme="light", motion="no-preference"):
    features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": name, "value": value} for name, value in features.items()]},
    )
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )


@contextmanager
def opened(chromium, address, is_ready, message):
    """Open a page and wait for it; afterwards its console must be empty."""
    emulate(chromium)
    chromium.get_log("browser")
    chromium.get(address)
    seek(chromium, is_ready, message)
    yield chromium
    assert chromium.get_log("browser") == []
    assert not chromium.find_element("id", "failure").is_displayed()


def text(browser, identifier):
    return browser.execute_script(
        "return document.getElementById(arguments[0]).textContent", identifier
    )


def number(browser, identifier):
    return int(text(browser, identifier).replace(",", ""))


def fill(browser, identifier, value):
    """Type into a field, or move the slider."""
    browser.execute_script(
        "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
        "field.dispatchEvent(new Event('input', { bubbles: true }))",
        identifier,
        value,
    )
