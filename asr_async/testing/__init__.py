"""The conformance kit for vendors: does a codec keep the contract of `asr_async.vendors.codec`?

    from asr_async.testing import check_vendor

    def test_my_vendor_keeps_the_contract() -> None:
        check_vendor(VENDOR).raise_for_failures()

The checks run against the vendor's room in the emulator: sessions first, with lost connections, a refused key and an
end that is not confirmed; then the conversation of the first session is played to new codecs, as it was, and with
changed and damaged messages. Nothing is mocked, and nothing outside this machine is called. Does not know a vendor.
"""

from __future__ import annotations

from .checks import check_vendor
from .report import BrokenContractError, Finding, Report

__all__ = ["BrokenContractError", "Finding", "Report", "check_vendor"]
