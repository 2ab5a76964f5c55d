"""Fixtures and options shared by all tests."""

import io
import pickle
import re
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from gptloom.model import quantise
from gptloom.model.integer import IntegerModel
from gptloom.model.merged import quantise as merged_quantise
from gptloom.model.network import network
from gptloom.model.positions import Positions
from gptloom.model.tokenizers.characters import Characters
from gptloom.sim.tool_caches import usable_caches


def pytest_addoption(parser):
    """Add the options of ./loom test."""
    parser.addoption(
        "--seed", type=int, default=0, help="of what tests draw at random; the same one repeats it"
    )
    parser.addoption(
        "--wave",
        action="store_true",
        help="keep the waveforms of all that is compared cycle by cycle, in build/waves",
    )
    parser.addoption(
        "--record",
        action="store_true",
        help="write what was measured into the repository's records (see docs/verification.md)",
    )


def pytest_configure(config):
    """Give tools a usable cache, as the command does."""
    caches = ExitStack()
    caches.enter_context(usable_caches())
    config.add_cleanup(caches.close)


def pytest_report_header(config):
    """Return the option that repeats this run."""
    return f"random draws: --seed {config.getoption('--seed')}"


@pytest.fixture(scope="session", autouse=True)
def models_are_quantised_once():
    """Keep what quantisers find and measure: commands of many tests quantise the same models."""
    with pytest.MonkeyPatch.context() as patch:
        _keep(patch, quantise, "_choose_shifts", lambda model, expected: (model, vars(expected)))
        _keep(patch, merged_quantise, "_search", _searched)
        for module in (quantise, merged_quantise):
            _keep(patch, module, "measure", lambda checkpoint, golden: (checkpoint, golden.model))
        yield


def _searched(build, formats, expected):
    """Return what a search depends on; the builder of models has the grids and widths."""
    return [cell.cell_contents for cell in build.__closure__], formats, vars(expected)


def _keep(patch, module, name, depends):
    """Let a function compute once for everything that it depends on; return a copy each time."""
    compute, found = getattr(module, name), {}

    def once(*arguments):
        key = io.BytesIO()
        pickler = pickle.Pickler(key)
        # Equal values give equal bytes, whether or not they are the same objects.
        pickler.fast = True
        pickler.dump(depends(*arguments))
        if (key := key.getvalue()) not in found:
            found[key] = pickle.dumps(compute(*arguments))
        return pickle.loads(found[key])

    patch.setattr(module, name, once)


@pytest.fixture
def seed(request):
    """Return the seed of random draws."""
    return request.config.getoption("--seed")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Let one process make what tests share, while the others run other tests.

    That is the widest core, and what a module's fixtures keep; where more than a module shares a
    simulation, the modules name a group. Tests of the page and of netlists, which keep one process
    busy for minutes, come first.
    """
    items.sort(key=lambda item: not any(map(item.get_closest_marker, ("browser", "icarus"))))
    for item in items:
        if "callspec" in vars(item) and item.callspec.params.get("lanes") == 64:
            item.add_marker(pytest.mark.xdist_group("64 lanes"))
        elif not item.get_closest_marker("xdist_group") and _shares(item):
            item.add_marker(pytest.mark.xdist_group(item.path.stem.removeprefix("test_")))


def _shares(item):
    """Return whether a test uses what its module's fixtures have made for all tests."""
    found = getattr(item, "_fixtureinfo", None)
    fixtures = found.name2fixturedefs.values() if found else ()
    return any(definitions[-1].scope == "module" for definitions in fixtures)


@dataclass(frozen=True)
class Waves:
    """A test's own folder for waveforms, and whether to keep them if the test passes."""

    folder: Path
    keep: bool


@pytest.fixture
def waves(request):
    """Return a test's place for waveforms, in ``build/waves``, to inspect after a failure."""
    name = re.sub(r"[^\w.-]+", "-", request.node.nodeid.removeprefix("tests/")).strip("-")
    folder = Path(__file__).parents[1] / "build" / "waves" / name
    shutil.rmtree(folder, ignore_errors=True)
    return Waves(folder, request.config.getoption("--wave"))


def pytest_terminal_summary(terminalreporter):
    """Print the figures that tests have measured."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    said = [
        text
        for report in reports
        for name, text in getattr(report, "user_properties", ())
        if name == "summary" and report.when == "call"
    ]
    if said:
        terminalreporter.section("measured")
    for text in said:
        terminalreporter.write_line(text)


# Shifts with which random weights give values that fill their ranges, and sometimes exceed them.
SHIFTS = dict(q=3, k=4, v=5, mix=3, out=12, hidden=12, mlp=5)


def make_random_model(config, seed=1, finer=0):
    """Make a model with random 8-bit weights: every value occurs, scores and residuals saturate.

    With `finer` above 0 values are smaller by that many bits, and rounding matters more.
    """
    draw = np.random.default_rng(seed)

    def weights(rows, columns):
        return draw.integers(-128, 128, (rows, columns))

    table, drawn, shifts = network(config), {}, {(0, "start"): 4 + finer}
    for layer in range(config.layers):
        drawn |= {tensor.name: weights(*tensor.shape) for tensor in table.layer_weights(layer)}
        shifts |= {
            (layer, site): shift + finer + int(draw.integers(-1, 2))
            for site, shift in SHIFTS.items()
        }
    drawn["wte"] = weights(config.vocabulary, config.width)
    positions = weights(config.context, config.width)
    if config.positions is Positions.LEARNED:
        drawn["wpe"] = positions
    drawn["lm_head"] = weights(config.vocabulary, config.width)
    return IntegerModel(
        config=config,
        tokenizer=Characters("".join(chr(ord("A") + i) for i in range(config.vocabulary - 1))),
        weights=drawn,
        shifts=shifts,
        logit_unit=4e-5 * 2**finer,
    )


@pytest.fixture(scope="session")
def random_model():
    """Make a model with random weights from a shape and a seed."""
    return make_random_model


@pytest.fixture(scope="session")
def shared_data():
    """Return the folder of models and texts made elsewhere; for tests that are marked `shared`."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    assert folder.is_dir(), f"there is no {folder}: its tests are left out of ./loom test"
    return folder
