"""Recordings in object stores, and in whatever else fsspec has a filesystem for: `s3://`, `oss://`, `obs://`, `gs://`.

Needs the extra `storage` and the filesystem of the store, such as s3fs or ossfs. Credentials and addresses are the
filesystem's own: of the environment, and of fsspec's configuration. Blocks: it is for threads. Does not know audio.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Any

from .._text.secret import shown_url
from ..errors import ASRError, AuthenticationError, ConfigurationError, ConnectionLostError
from .stored_object import SourceVersion, changed, check_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

__all__ = ["ObjectFile", "filesystem_for", "list_folder", "look_up", "version_in"]

OBS_ADVICE = "set FSSPEC_OBS_ENDPOINT_URL=https://obs.REGION.myhuaweicloud.com, FSSPEC_OBS_KEY and FSSPEC_OBS_SECRET"

_TAGS = ("ETag", "etag", "e_tag", "LastModified", "last_modified", "updated", "mtime", "created")
"""The names that filesystems of fsspec have for the version of an object, the best first."""

_NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"})
"""The errors of botocore and google-auth for credentials that are not there."""


class ObjectFile:
    """A `StoredObject` in a filesystem of fsspec.

    Attributes:
        name: the URL for texts.
        version: see `StoredObject`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.name: str = shown_url(url)
        self.version: SourceVersion | None = None
        self._file: Any = None

    def __repr__(self) -> str:
        return f"<ObjectFile {self.name}>"

    def find(self) -> SourceVersion:
        """Return the version that is there now."""
        filesystem, path = filesystem_for(self._url)
        return self._find(filesystem, path, is_last=True)

    def fetch(self, start: int, size: int) -> bytes:
        """Return at most `size` bytes from this place on; none only at the end."""
        if self._file is None:
            filesystem, path = filesystem_for(self._url)
            version = self._find(filesystem, path, is_last=False)
            check_version(self.name, self.version, version)
            self.version = version
            with _errors(self.name):
                # No cache: the blocks are this package's own. The file sends its etag with each request if it can.
                self._file = filesystem.open(path, "rb", cache_type="none")
        if self.version is not None and self.version.size_bytes is not None and start >= self.version.size_bytes:
            return b""
        with _errors(self.name):
            self._file.seek(start)
            data: bytes = self._file.read(size)
        if not data and self.version is not None and self.version.size_bytes is not None:
            raise ConnectionError("the store sent nothing of what is there")
        return data

    def close(self) -> None:
        """Close the file. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _find(self, filesystem: Any, path: str, *, is_last: bool) -> SourceVersion:
        info = look_up(filesystem, path, self.name, is_last=is_last)
        if info is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.name)
        if info.get("type") == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.name)
        return version_in(info)


def version_in(info: dict[str, Any]) -> SourceVersion:
    """Return the version in the facts that a filesystem gives about an object."""
    size = info.get("size")
    tag = next((str(info[name]) for name in _TAGS if info.get(name) is not None), None)
    return SourceVersion(int(size) if size is not None else None, tag)


def list_folder(filesystem: Any, folder: str, name: str) -> list[dict[str, Any]]:
    """Return the facts about the objects and folders in a folder, as they are now.

    Args:
        filesystem: the filesystem.
        folder: the path in it.
        name: the name of the whole search in texts.

    Raises:
        OSError: the folder does not exist, or cannot be listed.
        ConnectionLostError: the store cannot be reached.
    """
    with _errors(name, is_last=True):
        filesystem.invalidate_cache(folder)
        found: list[dict[str, Any]] = filesystem.ls(folder, detail=True)
        filesystem.invalidate_cache(folder)  # it keeps the facts about each object that it has listed
    return found


def look_up(filesystem: Any, path: str, name: str, *, is_last: bool = True) -> dict[str, Any] | None:
    """Return the facts about an object or a folder; None if there is none.

    Args:
        filesystem: the filesystem.
        path: the path in it.
        name: the name of the object in texts.
        is_last: True if there is no further attempt. Else a temporary error is raised as it is.

    Raises:
        OSError: it cannot be read.
        ConnectionLostError: the store cannot be reached.
    """
    with contextlib.suppress(FileNotFoundError), _errors(name, is_last=is_last):
        filesystem.invalidate_cache(path)
        filesystem.invalidate_cache(filesystem._parent(path))  # noqa: SLF001 - fsspec has no other name for it
        info: dict[str, Any] = filesystem.info(path)
        return info
    return None


def filesystem_for(url: str) -> tuple[Any, str]:
    """Return the filesystem of a URL, and the path in it.

    Raises:
        ConfigurationError: fsspec or the filesystem is not installed, or not configured.
    """
    fsspec, name = _fsspec(url), shown_url(url)
    scheme, _, path = url.partition("://")
    is_known = scheme in fsspec.available_protocols()
    try:
        if scheme == "obs" and not is_known:
            return _obs(fsspec), path
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ConfigurationError(f"{name} cannot be read: {error}") from None
    except ASRError:
        raise
    except ValueError as error:
        if is_known:
            raise ConfigurationError(f"{name} cannot be read: {error}") from None
        text = f"no filesystem of fsspec is registered for {scheme}://, install the one of the store"
        raise ConfigurationError(f"{name} cannot be read: {text}") from None
    return filesystem, path


def _fsspec(url: str) -> ModuleType:
    try:
        import fsspec  # noqa: PLC0415 - loaded only when it is used
        import fsspec.core  # noqa: PLC0415
    except ImportError:
        text = 'pip install "asr-async[storage]", and the filesystem of the store, such as s3fs or ossfs'
        raise ConfigurationError(f"{shown_url(url)} cannot be read: {text}") from None
    module: ModuleType = fsspec
    return module


def _obs(fsspec: ModuleType) -> Any:
    """Return the filesystem of Huawei's OBS, which has the interface of S3.

    https://support.huaweicloud.com/intl/en-us/api-obs/obs_04_0002.html (read 2026-11).
    """
    options = fsspec.config.conf.get("obs", {})
    if not options.get("endpoint_url"):
        raise ConfigurationError(f"the address of obs:// is not known: {OBS_ADVICE}")
    return fsspec.filesystem("s3", **options)


@contextlib.contextmanager
def _errors(name: str, *, is_last: bool = False) -> Iterator[None]:
    """Raise the errors of filesystems as errors of this package.

    Args:
        name: the name of the object in texts.
        is_last: True if there is no further attempt. Else a temporary error is raised as it is.
    """
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
    except PermissionError:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name) from None
    except ASRError:
        raise
    except Exception as error:
        kind = type(error).__name__
        if kind in _NO_CREDENTIALS:
            text = "there are no credentials for the store, set those that its filesystem reads"
            raise AuthenticationError(f"{name} cannot be read: {text}") from None
        if kind == "FileExpired":  # the object has another etag than the file
            raise changed(name) from None
        if is_last:
            raise ConnectionLostError(f"{name} cannot be reached: {error or kind}", retryable=True) from None
        raise
