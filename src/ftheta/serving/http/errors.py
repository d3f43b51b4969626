"""What is said when something is wrong, in OpenAI's shape: {"error": {"message", "type", "param", "code"}}. Nothing of what was sent is said back."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastapi.responses import JSONResponse
from pydantic import ValidationError

from ftheta.core.config import Config
from ftheta.core.errors import DataError, FthetaError, MissingExtraError, UsageError
from ftheta.serving.engine import QueueFull

TOLD = ("most", "messages", "prompt", "beams", "text", "tools", "must_call", "at", "method", "pixels", "bias", "samples")
"""Fields about which an error says only lengths, numbers and what to do: told as it is. What is said about others may hold a part of them."""
COUNTED = re.compile(r"(picture|row|observation|node|edge) \d+\b")
"""So begins what is said of one of several things, by its place: sizes, shapes and bounds, with what was sent after `, got` at most."""
UNREAD = (401, 403, 408, 413)
"""Said before the body has been read; what comes after it is no request."""
TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "invalid_request_error", 429: "rate_limit_error"}


class Refusal(Exception):
    """A request that is answered with a status and a reason."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None, after: float | None = None):
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.after = status, message, param, code, after

    def response(self) -> JSONResponse:
        headers = {} if self.after is None else {"Retry-After": f"{max(1, round(self.after))}"}
        if self.status in UNREAD:
            headers["Connection"] = "close"
        return JSONResponse(self.body(), self.status, headers=headers)

    def by_names(self, names: Mapping[str, str]) -> Refusal:
        """The same, of fields by the names that the client knows them by."""
        if self.param is None or self.param not in names:
            return self
        name = names[self.param]
        return Refusal(self.status, name + self.message.removeprefix(self.param), name, self.code, self.after)

    def body(self) -> dict[str, object]:
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def refusal(error: Exception) -> Refusal:
    """What a client is told about an error."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, QueueFull):
        return Refusal(429, str(error), code="queue_full", after=error.after)
    if isinstance(error, MissingExtraError):
        return Refusal(501, str(error), code="not_installed")
    if isinstance(error, UsageError):
        message, field = str(error).split(", got ")[0], str(error).split(":")[0]
        if field in TOLD or (", " in field and all(map(str.isidentifier, field.split(", ")))):
            return Refusal(400, message, field if field.isidentifier() else None, "invalid_value")
        if COUNTED.match(message):
            return Refusal(400, message, code="invalid_value")
        where = f"{field}: the" if field.isidentifier() else "a"
        return Refusal(400, f"{where} value cannot be used with this model", field if field.isidentifier() else None, "invalid_value")
    if isinstance(error, DataError) and COUNTED.match(str(error)):
        return Refusal(400, str(error).split(", got ")[0], code="invalid_value")
    if isinstance(error, FthetaError):
        return Refusal(400, "this cannot be answered by this model", code="invalid_value")
    return Refusal(500, "the server failed; the request may be sent again", code="internal_error")


def invalid(kind: type[Config], error: ValidationError) -> Refusal:
    """The first thing wrong with a body, by the name of the field as the server knows it."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = [str(part) for part in first["loc"]]
    known = place[:1] and place[0] in kind.model_fields
    if first["type"] == "json_invalid":
        return Refusal(400, "the body is no JSON", code="invalid_json")
    if first["type"] == "extra_forbidden":
        where = f"{place[0]}: " if known else ""
        return Refusal(400, f"{where}there is a field that is not known here (fields: {', '.join(kind.model_fields)})", code="unknown_field")
    message = first["msg"] if first["type"] != "value_error" else "the value cannot be used"
    return Refusal(400, f"{place[0]}: {message}" if known else message, place[0] if known else None, "invalid_value")
