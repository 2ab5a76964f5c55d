"""Chromium for the tests of pages."""

import shutil

import pytest

pytest.register_assert_rewrite("browsing")

from browsing import PATIENCE  # noqa: E402


@pytest.fixture(scope="module")
def chromium():
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if not all(programs.values()):
        pytest.fail(
            "Chromium or its driver is missing: install them (on Debian `apt-get install chromium "
            "chromium-driver`)"
        )
    try:
        from selenium import webdriver
    except ImportError:
        pytest.fail("selenium is missing: run `pip install -e '.[browser]'`")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(programs["chromedriver"])
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(PATIENCE)
    yield driver
    driver.quit()
