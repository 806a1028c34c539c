"""The registry of vendors.

The built-in ones are listed here; third parties register a `Vendor` under the entry-point group `asr_async.vendors`.
Nothing is imported or looked up before it is needed.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import logging
import os
from collections.abc import Callable, Iterable, Mapping

import msgspec

from .._text.lines import one_line
from ..errors import ConfigurationError
from .catalogue import ModelInfo
from .options import Options, check_is_options, did_you_mean
from .service import Service

__all__ = ["Vendor", "model_info", "models", "options_for_model", "service_for", "vendor_of", "vendors"]

logger: logging.Logger = logging.getLogger("asr_async")

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
    address_variable: str = ""
    """The environment variable with the address of a service that users run themselves, in place of which `endpoint=`
    may name one; empty if the vendor's own addresses are known."""
    other_key_source: Callable[[], str] = lambda: ""
    """Returns the file that holds the credentials in place of `key_variables`; empty if there is none. May raise a
    `ConfigurationError` that names the file."""
    emulator: str = ""
    """The function that adds the vendor's endpoints to the emulator, as "package.module:function"; empty if there is
    none. It is an `asr_async.emulator.routes.AddRoutes`, and is imported when an emulator starts."""
    local_service: Callable[[str], Service] | None = None
    """Makes the service on the emulator at "host:port"; None if it has no endpoints there."""
    local_environment: Callable[[str], Mapping[str, str]] | None = None
    """Returns the environment variables with which `service` connects to the emulator at "host:port", for the pytest
    plugin and `asr-async serve`; None if there are none."""

    @property
    def models(self) -> dict[str, type[Options]]:
        """Every name of a model → the class of its options."""
        classes = {cls.__name__: cls for cls in self.options}
        return {name: classes[row.options] for row in self.catalogue for name in (row.model, *row.other_names)}

    def missing_variables(self, *, has_endpoint: bool = False) -> list[str]:
        """Return the variables that are needed and not set in the environment.

        They are those of `key_variables`, unless a file holds the credentials, and `address_variable`, unless
        `endpoint=` names an address.

        Raises:
            ConfigurationError: there is such a file, and it cannot be read.
        """
        keys = _not_set(self.key_variables)
        if keys and self.other_key_source():
            keys = []
        is_address_needed = self.address_variable and not has_endpoint
        return [*keys, *(_not_set([self.address_variable]) if is_address_needed else [])]


def _not_set(names: Iterable[str]) -> list[str]:
    return [name for name in names if not os.environ.get(name, "").strip()]


@functools.cache
def vendors() -> dict[str, Vendor]:
    """Return all vendors by name.

    A third party cannot replace a built-in one. An entry point that cannot be used is logged, once, and left out.
    """
    found: dict[str, Vendor] = {name: importlib.import_module(f"{__package__}.{name}").VENDOR for name in BUILT_IN}
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        name = entry_point.name
        try:
            vendor = _checked(name, entry_point.load())
        except Exception as error:  # noqa: BLE001 - it is the code of another project
            _failures[name] = f"{entry_point.value} failed: {one_line(f'{type(error).__name__}: {error}')}"
            logger.warning("vendor %r is left out: %s", name, _failures[name])
            continue
        if name in found:
            logger.warning("vendor %r of %s is left out: there is one of this name", name, entry_point.value)
        else:
            found[name] = vendor
    return found


_failures: dict[str, str] = {}
"""The reasons for which entry points were left out, by their names."""


def _checked(name: str, vendor: object) -> Vendor:
    """Return what an entry point has given, if it is a vendor of that name.

    Raises:
        TypeError: it is something else, or a member of it is.
    """
    if not isinstance(vendor, Vendor):
        raise TypeError(f"it gives a value of type {type(vendor).__name__}, not an asr_async.vendors.Vendor")
    if vendor.name != name:
        raise TypeError(f"the vendor's name is {vendor.name!r}: the entry point must have the same")
    options, catalogue = vendor.options, vendor.catalogue
    if not (
        isinstance(options, tuple) and all(isinstance(each, type) and issubclass(each, Options) for each in options)
    ):
        raise TypeError("Vendor.options must be a tuple of subclasses of Options")
    if not (isinstance(catalogue, tuple) and all(isinstance(row, ModelInfo) for row in catalogue)):
        raise TypeError("Vendor.catalogue must be a tuple of ModelInfo")
    classes = {each.__name__ for each in options}
    if unknown := [row.options for row in catalogue if row.options not in classes]:
        raise TypeError(f"Vendor.catalogue has a row of {unknown[0]!r}, which is not in Vendor.options")
    return vendor


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
        reason = _failures.get(options.vendor, "pass the service of the options")
        raise ConfigurationError(f"{type(options).__name__}: no vendor {options.vendor!r} is registered; {reason}")
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
