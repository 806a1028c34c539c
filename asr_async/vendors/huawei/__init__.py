"""Huawei Cloud's Speech Interaction Service (SIS): real-time recognition (RASR) in its three modes."""

from __future__ import annotations

from ..registry import Vendor
from .catalogue import CATALOGUE
from .credentials import KEY_VARIABLES
from .models import Rasr
from .service import ENDPOINT_VARIABLE, PROJECT_VARIABLE, REGION_VARIABLE, Huawei

__all__ = ["VENDOR", "Huawei", "Rasr"]

VENDOR = Vendor(
    name="huawei",
    options=(Rasr,),
    catalogue=CATALOGUE,
    default_model="huawei/continue",
    service=Huawei,
    key_variables=(*KEY_VARIABLES, PROJECT_VARIABLE, REGION_VARIABLE),
    emulator="asr_async.emulator.huawei.rasr:add_routes",
    local_service=lambda address: Huawei(
        ak="local", sk="local", project_id="local", region="local", endpoint=f"ws://{address}"
    ),
    local_environment=lambda address: {
        **dict.fromkeys((*KEY_VARIABLES, PROJECT_VARIABLE), "any"),
        REGION_VARIABLE: "cn-north-4",
        ENDPOINT_VARIABLE: f"ws://{address}",
    },
)
"""The entry of this vendor in the registry."""
