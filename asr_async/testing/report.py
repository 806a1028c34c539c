"""The verdict of the conformance kit: the checks that were made, and what each of them found."""

from __future__ import annotations

import msgspec

__all__ = ["BrokenContractError", "Finding", "Report"]


class BrokenContractError(AssertionError):
    """A vendor does not keep the contract; the text names each check that failed, and why."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one check with some options."""

    check: str
    """The name of the check, such as "a cut in mid-speech"."""
    options: str
    """The options, by class and model; empty for a check of the vendor as a whole."""
    reason: str | None = None
    """The way in which the contract is broken; None if it is kept."""

    def __str__(self) -> str:
        subject = f"{self.options}: {self.check}" if self.options else self.check
        return f"{subject}: {'passed' if self.reason is None else self.reason}"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict about one vendor."""

    vendor: str
    """The vendor's name."""
    findings: tuple[Finding, ...]
    """The outcome of each check, in the order in which they were made."""

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that break the contract."""
        return tuple(finding for finding in self.findings if finding.reason is not None)

    @property
    def is_passed(self) -> bool:
        """True if the vendor keeps the contract."""
        return not self.failures

    def raise_for_failures(self) -> None:
        """Raise an error if the vendor does not keep the contract.

        Raises:
            BrokenContractError: the text has a line for each failure.
        """
        if not self.is_passed:
            raise BrokenContractError(str(self))

    def __str__(self) -> str:
        count = len(self.findings)
        if self.is_passed:
            return f"vendor {self.vendor!r} passed {count} checks"
        lines = [f"vendor {self.vendor!r} failed {len(self.failures)} of {count} checks", *map(str, self.failures)]
        return "\n  ".join(lines)
