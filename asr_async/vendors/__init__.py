"""The vendors, one folder each, and the parts that they share.

General layout: `options` and `codec` define the interfaces of a vendor's options and protocol, `segments` and
`error_rules` are what every codec uses, `catalogue` describes models to users, `service` defines endpoints and
credentials, and `registry` finds the vendors. A vendor's folder holds `wire` (its messages), `models` (its options and
the capabilities of each model), `catalogue` (the same for users), `codec`, `errors` and `service`.
"""

from __future__ import annotations

from .catalogue import Capabilities, ModelInfo
from .registry import Vendor, model_info, models, options_for_model, service_for, vendor_of, vendors

__all__ = [
    "Capabilities",
    "ModelInfo",
    "Vendor",
    "model_info",
    "models",
    "options_for_model",
    "service_for",
    "vendor_of",
    "vendors",
]
