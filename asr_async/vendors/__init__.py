"""The vendors, one folder each, and how they are found.

General layout: `options` and `codec` say what a vendor's rules are made of, `catalogue` what is told of a model,
`service` whom to call, `registry` which vendors there are. A vendor's folder holds `wire` (its messages), `models` (its
options and what each model can do), `catalogue` (the same for users), `codec`, `errors` and `service`.
"""

from __future__ import annotations

from .catalogue import ModelInfo
from .registry import Vendor, model_info, models, options_for_model, service_for, vendor_of, vendors

__all__ = ["ModelInfo", "Vendor", "model_info", "models", "options_for_model", "service_for", "vendor_of", "vendors"]
