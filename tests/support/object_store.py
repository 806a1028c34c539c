"""An object store with the interface of S3, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from .child_processes import child_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["object_store", "stored"]


@contextmanager
def object_store() -> Iterator[str]:
    """Run moto's server while the context lasts, and yield its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(
        command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:  # until it listens
                if "Running on" in line:
                    break
            else:
                pytest.fail("the object store has not started")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@contextmanager
def stored(objects: dict[str, bytes]) -> Iterator[Any]:
    """Run a store with these objects, set the environment for it, and yield its filesystem."""
    import fsspec
    import s3fs

    with object_store() as url, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1",
        }.items():
            patch.setenv(name, value)
        patch.setitem(fsspec.config.conf, "obs", {"endpoint_url": url, "key": "key", "secret": "secret"})
        s3fs.S3FileSystem.clear_instance_cache()
        filesystem = s3fs.S3FileSystem()
        for name, content in objects.items():
            filesystem.makedirs(name.partition("/")[0], exist_ok=True)
            filesystem.pipe(name, content)
        yield filesystem
        s3fs.S3FileSystem.clear_instance_cache()
