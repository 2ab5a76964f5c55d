"""Fixtures of proofs, and the table of all proved claims."""

import dataclasses
from pathlib import Path

import pytest
from prove import SOLVER, Refuted, prove

HERE = Path(__file__).parent
HEAD = ("of", "claim", "proofs", "how", "depth", "CPU s")


def pytest_collection_modifyitems(items):
    """Leave the proofs out of other runs."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.formal)


@pytest.fixture
def proved(request, record_property):
    """Prove a bench's claims; the test's docstring describes them in the table."""

    def run(bench, depth, **how):
        result = prove(bench, request.node.name, depth, **how)
        claim = " ".join(request.function.__doc__.split()).rstrip(".")
        details = {"claim": claim, "of": type(bench.dut).__name__}
        record_property("proved", details | dataclasses.asdict(result))
        return result

    return run


@pytest.fixture
def refuted(request, record_property):
    """Require that a bench of a planted fault is refuted, for a claim of this name."""

    def run(bench, depth, claim, **how):
        with pytest.raises(Refuted) as caught:
            prove(bench, request.node.name, depth, **how)
        assert claim.replace(" ", "_") in caught.value.claims, str(caught.value)
        record_property("refuted", claim)

    return run


def pytest_terminal_summary(terminalreporter):
    """Show the figures that docs/verification.md quotes, if the proofs were requested by path."""
    passed = terminalreporter.stats.get("passed", [])
    told = [(name, value) for report in passed for name, value in report.user_properties]
    proofs = [value for name, value in told if name == "proved"]
    if not proofs:
        return
    write = terminalreporter.write_line
    write("")
    write(f"| {' | '.join(HEAD)} |")
    write(f"|{'---|' * len(HEAD)}")
    # One row for all sizes of a component.
    rows = {}
    for proof in proofs:
        rows.setdefault((proof["claim"], proof["of"]), []).append(proof)
    for (claim, component), alike in sorted(rows.items(), key=lambda row: row[0][::-1]):
        how = ", ".join(dict.fromkeys(proof["how"] for proof in alike))
        depth = max(proof["depth"] for proof in alike)
        seconds = sum(proof["seconds"] for proof in alike)
        figures = (component, claim, len(alike), how, depth, f"{seconds:.1f}")
        write(f"| {' | '.join(map(str, figures))} |")
    claims = sum(proof["claims"] for proof in proofs)
    faults = sum(name == "refuted" for name, _ in told)
    write(
        f"{claims} claims in {len(proofs)} proofs by {SOLVER}, "
        f"{sum(proof['covers'] for proof in proofs)} covers reached, {faults} planted faults found"
    )
