"""The vendors, one folder each, and how they are found.

General layout: `options` and `codec` say what a vendor's rules are made of, `service` whom to call, `registry` which
vendors there are. A vendor's folder holds `wire` (its messages), `models` (its options and what each model can do),
`codec`, `errors` and `service`.
"""

from __future__ import annotations

from .registry import Vendor, options_for_model, service_for, vendor_of, vendors

__all__ = ["Vendor", "options_for_model", "service_for", "vendor_of", "vendors"]
