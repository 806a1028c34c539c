"""The registry of vendors.

The built-in ones are listed here; third parties register a `Vendor` under the entry-point group `asr_async.vendors`.
Nothing is imported or looked up before it is needed.
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
from .options import Options, check_is_options, did_you_mean
from .service import Service

__all__ = ["Vendor", "model_info", "models", "options_for_model", "service_for", "vendor_of", "vendors"]

BUILT_IN = ("dashscope", "huawei", "openai", "funasr")
ENTRY_POINT_GROUP = "asr_async.vendors"


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a vendor's folder that the rest of the library uses."""

    name: str
    options: tuple[type[Options], ...]
    """The classes of options, with different names."""
    catalogue: tuple[ModelInfo, ...]
    """One row for each model."""
    default_model: str
    """The model that is used if only the vendor is named."""
    service: Callable[..., Service]
    """Makes the service with credentials and addresses from the environment; `endpoint=` names another address."""
    key_variables: tuple[str, ...]
    """The environment variables that `service` needs for its credentials."""
    other_key_source: Callable[[], str] = lambda: ""
    """Returns the file that holds the credentials in place of `key_variables`; empty if there is none. May raise a
    `ConfigurationError` that names the file."""
    local_service: Callable[[str], Service]
    """Makes the service on the emulator at "host:port"."""

    @property
    def models(self) -> dict[str, type[Options]]:
        """Every name of a model → the class of its options."""
        classes = {cls.__name__: cls for cls in self.options}
        return {name: classes[row.options] for row in self.catalogue for name in (row.model, *row.other_names)}

    def missing_variables(self) -> list[str]:
        """Return those of `key_variables` that are not set in the environment; none if a file holds the credentials.

        Raises:
            ConfigurationError: there is such a file, and it cannot be read.
        """
        missing = [name for name in self.key_variables if not os.environ.get(name, "").strip()]
        return [] if missing and self.other_key_source() else missing


@functools.cache
def vendors() -> dict[str, Vendor]:
    """Return all vendors by name; a third party cannot replace a built-in one."""
    found = {name: importlib.import_module(f"{__package__}.{name}").VENDOR for name in BUILT_IN}
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        if entry_point.name not in found:
            found[entry_point.name] = entry_point.load()
    return found


def models() -> tuple[ModelInfo, ...]:
    """Return the capabilities of each model of every vendor, as far as the vendors' documents state them."""
    return tuple(row for vendor in vendors().values() for row in vendor.catalogue)


def model_info(options: Options) -> ModelInfo | None:
    """Return the catalogue's row for the model of these options.

    For a model that is not in the catalogue, it is the row of its class. None if nothing is known: the vendor is not
    registered, or the class has several models and this one is new.
    """
    vendor = vendors().get(options.vendor)
    rows = [row for row in vendor.catalogue if row.options == type(options).__name__] if vendor is not None else []
    named = [row for row in rows if options.model in (row.model, *row.other_names)]
    return named[0] if named else (rows[0] if len(rows) == 1 else None)


def vendor_of(options: Options) -> Vendor:
    """Return the vendor of these options.

    Raises:
        ConfigurationError: they are not the options of any vendor.
    """
    check_is_options(options)
    vendor = vendors().get(options.vendor)
    if vendor is None:
        raise ConfigurationError(
            f"{type(options).__name__}: no vendor {options.vendor!r} is registered; pass the service of the options"
        )
    return vendor


def service_for(options: Options) -> Service:
    """Return the service of the options' vendor, with credentials and addresses from the environment."""
    return vendor_of(options).service()


def options_for_model(model: str) -> type[Options]:
    """Return the class of a model's options.

    Raises:
        ConfigurationError: no vendor has such a model; the text names the most similar one.
    """
    known = {name: options for vendor in vendors().values() for name, options in vendor.models.items()}
    if model not in known:
        raise ConfigurationError(f"unknown model {model!r}: {did_you_mean(model, known)}")
    return known[model]
