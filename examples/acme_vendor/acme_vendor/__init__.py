"""Acme's live recognition as a vendor of `asr_async`; see README.md."""

from __future__ import annotations

from asr_async.vendors import Vendor

from .options import CATALOGUE, Acme
from .service import ENDPOINT_VARIABLE, KEY_VARIABLE, AcmeService

__all__ = ["VENDOR", "Acme", "AcmeService"]

VENDOR = Vendor(
    name="acme",
    options=(Acme,),
    catalogue=CATALOGUE,
    default_model="acme-live-2",
    service=AcmeService,
    key_variables=(KEY_VARIABLE,),
    emulator="acme_vendor.emulator:add_routes",
    local_service=lambda address: AcmeService("local", endpoint=f"ws://{address}"),
    local_environment=lambda address: {KEY_VARIABLE: "any", ENDPOINT_VARIABLE: f"ws://{address}"},
)
"""The entry point of pyproject.toml."""
