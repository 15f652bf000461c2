"""Findings in the order in which pages show them."""

from __future__ import annotations

from deitft.errors import Notice, Severity
from deitft.runs.check_album import gravest_first


def found(id: str, severity: Severity, **details: object) -> Notice:
    return Notice(id=id, severity=severity, text="x", details=details)


def test_errors_come_first_then_warnings_then_facts() -> None:
    given = [
        found("D14", "info"),
        found("D6", "warning"),
        found("SUSPECTS", "warning", suspects=[1]),
        found("COPIES", "info", pairs=[1]),
        found("D12", "warning", pairs=[1]),
        found("D13", "warning"),
        found("D9", "error"),
    ]
    wanted = ["D9", "D13", "D12", "SUSPECTS", "D6", "COPIES", "D14"]
    assert [finding.id for finding in gravest_first(given)] == wanted
