"""What a check has found."""

from dataclasses import dataclass
from typing import Any

# What works, what is optional and not there, what may bite one day, and what keeps something from working.
OK, ABSENT, WARNING, PROBLEM = STATES = ("ok", "absent", "warning", "problem")


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: of what was looked at.
        state: one of STATES.
        found: in words; foreign text in it is printable.
        mend: a command, or else what to do; None if nothing is to be done.
    """

    name: str
    state: str
    found: str
    mend: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "state": self.state, "found": self.found, "mend": self.mend}


def worst(findings: list[Finding]) -> str:
    """The state of the whole; what is absent harms nothing."""
    states = {finding.state for finding in findings}
    return next((state for state in (PROBLEM, WARNING) if state in states), OK)
