"""The result of a check."""

from dataclasses import dataclass
from typing import Any

# It works; it is optional and not there; it may become a problem; it keeps something from working.
OK, ABSENT, WARNING, PROBLEM = STATES = ("ok", "absent", "warning", "problem")


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: of the checked part.
        state: one of STATES.
        found: the result in words; text of other programs in it is printable.
        fix: a command, or else what to do; None if nothing has to be done.
    """

    name: str
    state: str
    found: str
    fix: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "state": self.state, "found": self.found, "mend": self.fix}


def worst(findings: list[Finding]) -> str:
    """PROBLEM or WARNING if a finding has that state, else OK: absent parts are optional."""
    states = {finding.state for finding in findings}
    return next((state for state in (PROBLEM, WARNING) if state in states), OK)
