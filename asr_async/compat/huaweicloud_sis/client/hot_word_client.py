"""The client of hot-word tables."""

from __future__ import annotations

from typing import Any

import msgspec

from ....errors import ASRError, VendorError
from ....sync._loop import background_loop
from ....vendors.huawei import Huawei
from ..bean.hot_word_request import HotWordRequest
from ..bean.sis_config import SisConfig
from ..exception.exceptions import ClientException, ServerException

__all__ = ["HotWordClient"]


class HotWordClient:
    """The hot-word tables of a project. Methods block until the vendor has answered, and return its JSON as it is."""

    def __init__(  # noqa: PLR0917 - the SDK's signature
        self,
        ak: str | None,
        sk: str | None,
        region: str | None,
        project_id: str | None,
        service_endpoint: str | None = None,
        sis_config: SisConfig | None = None,  # noqa: ARG002 - the SDK's signature
    ) -> None:
        if not ak or not sk:
            raise ClientException("ak or sk is empty, please fill in it")
        endpoint = None if service_endpoint is None else service_endpoint.replace("http", "ws", 1)
        try:
            self._service = Huawei(ak=ak, sk=sk, region=region, project_id=project_id, endpoint=endpoint)
        except ASRError as error:
            raise ClientException(str(error)) from None

    def create(self, request: HotWordRequest) -> Any:
        """Make a table; the response has its `vocabulary_id`."""
        return self._call("POST", "", _body(request))

    def update(self, request: HotWordRequest, vocabulary_id: str) -> Any:
        """Replace a table."""
        return self._call("PUT", f"/{vocabulary_id}", _body(request))

    def query_list(self) -> Any:
        """Return all tables, without their words."""
        return self._call("GET", "", b"")

    def query_by_vocabulary_id(self, vocabulary_id: str) -> Any:
        """Return a table."""
        return self._call("GET", f"/{vocabulary_id}", b"")

    def delete(self, vocabulary_id: str) -> None:
        """Remove a table."""
        self._call("DELETE", f"/{vocabulary_id}", b"")

    def _call(self, method: str, path: str, body: bytes) -> Any:
        """Send a request.

        Raises:
            ServerException: the vendor refuses it, with its code.
            ClientException: it did not reach the vendor.
        """
        try:
            call = self._service.vocabularies._call  # noqa: SLF001 - the vendor's JSON, which no public method returns
            content = background_loop().run(call, method, path, body)
        except VendorError as error:
            raise ServerException(error.code or "", error.message) from None
        except ASRError as error:
            raise ClientException(str(error)) from None
        return msgspec.json.decode(content) if content else None


def _body(request: object) -> bytes:
    if not isinstance(request, HotWordRequest):
        raise ClientException("The parameter of request in HotWordClient should be HotWordRequest class")
    return msgspec.json.encode(request.construct_params())
