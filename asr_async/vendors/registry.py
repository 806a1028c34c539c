"""Which vendors there are.

Ours are named here; others register a `Vendor` under the entry-point group `asr_async.vendors`. Nothing is looked up
before it is asked for.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
from collections.abc import Callable

import msgspec

from ..errors import ConfigurationError
from .catalogue import ModelInfo
from .options import Options, did_you_mean
from .service import Service

__all__ = ["Vendor", "model_info", "models", "options_for_model", "service_for", "vendor_of", "vendors"]

BUILT_IN = ("dashscope", "huawei")
ENTRY_POINT_GROUP = "asr_async.vendors"


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """What a vendor's folder offers to the rest of the library."""

    name: str
    options: tuple[type[Options], ...]
    """The classes of options; no two have the same name."""
    catalogue: tuple[ModelInfo, ...]
    """What each model can do."""
    default_model: str
    """The one that is taken where only the vendor is named."""
    service: Callable[[], Service]
    """The service with everything from the environment."""
    key_variables: tuple[str, ...]
    """The environment variables without which `service` has no credentials."""
    local_service: Callable[[str], Service]
    """The service on the emulator at "host:port"."""

    @property
    def models(self) -> dict[str, type[Options]]:
        """Every name of a model → the class of its options."""
        classes = {cls.__name__: cls for cls in self.options}
        return {name: classes[row.options] for row in self.catalogue for name in (row.model, *row.other_names)}

    def missing_variables(self) -> list[str]:
        """Those of `key_variables` that the environment does not hold."""
        return [name for name in self.key_variables if not os.environ.get(name, "").strip()]


@functools.cache
def vendors() -> dict[str, Vendor]:
    """All vendors by name; a third party cannot take the name of one of ours."""
    found = {name: importlib.import_module(f"{__package__}.{name}").VENDOR for name in BUILT_IN}
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        if entry_point.name not in found:
            found[entry_point.name] = entry_point.load()
    return found


def models() -> tuple[ModelInfo, ...]:
    """What each model can do, of all vendors, as far as the vendors' documents say."""
    return tuple(row for vendor in vendors().values() for row in vendor.catalogue)


def model_info(options: Options) -> ModelInfo | None:
    """What the model of these options can do; of one that the catalogue does not have, what its class says.

    None where nothing is known: a vendor that is not registered, or a new model of a class with several.
    """
    vendor = vendors().get(options.vendor)
    rows = [row for row in vendor.catalogue if row.options == type(options).__name__] if vendor is not None else []
    named = [row for row in rows if options.model in (row.model, *row.other_names)]
    return named[0] if named else (rows[0] if len(rows) == 1 else None)


def vendor_of(options: Options) -> Vendor:
    """The vendor whose options these are.

    Raises:
        ConfigurationError: these are not the options of any vendor.
    """
    name = getattr(options, "vendor", None)
    vendor = vendors().get(name) if isinstance(name, str) else None
    if vendor is None:
        raise ConfigurationError(f"{type(options).__name__} is not the options of a model, such as Paraformer()")
    return vendor


def service_for(options: Options) -> Service:
    """The service of the options' vendor, with everything from the environment."""
    return vendor_of(options).service()


def options_for_model(model: str) -> type[Options]:
    """The class of a model's options.

    Raises:
        ConfigurationError: no vendor has such a model; the text names the nearest.
    """
    known = {name: options for vendor in vendors().values() for name, options in vendor.models.items()}
    if model not in known:
        raise ConfigurationError(f"unknown model {model!r}: {did_you_mean(model, known)}")
    return known[model]
