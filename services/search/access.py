"""What a client may know of its own access, and how the API's description tells of keys."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel, Field

from runtime.access.gate import CALLER, EVERYBODY, Caller
from runtime.access.scopes import Door, Scope, rule_of
from services.search.answers import json_response

SCHEMES: dict[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer KEY`. Keys are made with `sightline keys new`.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "`X-Api-Key: KEY`."},
}


class AccessAnswer(BaseModel):
    """What whoever asks may do."""

    required: bool = Field(description="Whether API keys are asked for here.")
    key: str | None = Field(description="The name of the key that was sent; null without a valid one.")
    scopes: list[Scope] = Field(description="What requests may need: all of them where no keys are asked for.")


def access_router() -> APIRouter:
    """The route that tells a client, such as the page, which scopes its key has."""
    router = APIRouter(prefix="/v1", tags=["operation"])

    @router.get("/access", summary="What the key that is sent may do", response_model=AccessAnswer)
    async def access(request: Request) -> Response:
        """Whether keys are asked for, and the name and scopes of the one that was sent. Needs none itself."""
        caller = caller_of(request)
        return json_response({"required": caller.required, "key": caller.name, "scopes": sorted(caller.scopes)})

    return router


def caller_of(request: Request) -> Caller:
    """Who asks; without a gate in front of the app, anybody."""
    caller: Caller = getattr(request.state, CALLER, EVERYBODY)
    return caller


def declare_security(app: FastAPI) -> None:
    """Let the app's OpenAPI document name, for each operation, the scope that its key needs."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        document = plain()
        document.setdefault("components", {})["securitySchemes"] = SCHEMES
        for path, operations in document.get("paths", {}).items():
            for method, operation in operations.items():
                rule = rule_of(method.upper(), path)
                named = rule.door is Door.KEY and rule.scope is not None
                operation["security"] = [{name: [str(rule.scope)]} for name in SCHEMES] if named else []
        return document

    app.openapi = described  # type: ignore[method-assign]
