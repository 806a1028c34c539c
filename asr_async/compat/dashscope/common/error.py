"""The exceptions of `dashscope.common.error`; those of this library are translated into them."""

from __future__ import annotations

__all__ = [
    "AsyncTaskCreateFailed",
    "AuthenticationError",
    "DashScopeException",
    "InputDataRequired",
    "InputRequired",
    "InvalidFileFormat",
    "InvalidInput",
    "InvalidModel",
    "InvalidParameter",
    "InvalidTask",
    "ModelRequired",
    "NotImplemented",
    "RequestFailure",
    "ServiceUnavailableError",
    "TimeoutException",
    "UnexpectedMessageReceived",
    "UnknownMessageReceived",
    "UnsupportedApiProtocol",
    "UnsupportedData",
    "UnsupportedDataType",
    "UnsupportedHTTPMethod",
    "UnsupportedModel",
    "UnsupportedTask",
    "UploadFileException",
]

# ruff: noqa: N818 - the names are the official SDK's


class DashScopeException(Exception):
    """The base class of the exceptions."""


class AuthenticationError(DashScopeException):
    """Missing credentials."""


class InvalidParameter(DashScopeException):
    """An argument that is not allowed, or a call that is not allowed in this state."""


class InvalidTask(DashScopeException):
    """A task that could not be created."""


class UnsupportedModel(DashScopeException):
    """A model that the class does not support."""


class UnsupportedTask(DashScopeException):
    """A task that the model does not support."""


class ModelRequired(DashScopeException):
    """A missing model."""


class InvalidModel(DashScopeException):
    """A model that does not exist."""


class InvalidInput(DashScopeException):
    """An input that is not allowed."""


class InvalidFileFormat(DashScopeException):
    """A file of another format."""


class UnsupportedApiProtocol(DashScopeException):
    """A protocol that the interface does not have."""


class NotImplemented(DashScopeException):  # noqa: A001
    """A function that does not exist."""


class UnexpectedMessageReceived(DashScopeException):
    """A message out of order."""


class UnsupportedData(DashScopeException):
    """Data that cannot be sent."""


class RequestFailure(DashScopeException):
    """A refused request."""

    def __init__(
        self,
        request_id: str | None = None,
        message: str | None = None,
        name: str | None = None,
        http_code: int | None = None,
    ) -> None:
        super().__init__(request_id, message, name, http_code)
        self.request_id = request_id
        self.message = message
        self.name = name
        self.http_code = http_code

    def __str__(self) -> str:
        return (
            f"Request failed, request_id: {self.request_id}, http_code: {self.http_code} error_name: {self.name}, "
            f"error_message: {self.message}"
        )


class UnknownMessageReceived(DashScopeException):
    """A message that cannot be read."""


class InputDataRequired(DashScopeException):
    """An empty input."""


class InputRequired(DashScopeException):
    """A missing argument."""


class UnsupportedDataType(DashScopeException):
    """Data of another type."""


class ServiceUnavailableError(DashScopeException):
    """A service that is not available."""


class UnsupportedHTTPMethod(DashScopeException):
    """An HTTP method that the interface does not have."""


class AsyncTaskCreateFailed(DashScopeException):
    """A batch task that could not be created."""


class UploadFileException(DashScopeException):
    """A file that could not be uploaded."""


class TimeoutException(DashScopeException):
    """A deadline that passed."""
