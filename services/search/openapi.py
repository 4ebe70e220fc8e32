"""Request bodies that are read by hand, as OpenAPI describes them."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def json_body(model: type[BaseModel], examples: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The description of a JSON body, with named examples in place of the model's own."""
    return {"requestBody": {"required": True, "content": {"application/json": json_content(model, examples)}}}


def json_content(model: type[BaseModel], examples: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The same for one content type among others."""
    content: dict[str, Any] = {"schema": schema_of(model)}
    return content | ({"examples": {name: {"value": one} for name, one in examples.items()}} if examples else {})


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model with what it refers to put in place: it stands where references lead nowhere.

    Of models that do not contain themselves.
    """
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inlined(node: Any) -> Any:
        if isinstance(node, list):
            return [inlined(one) for one in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            return inlined({**definitions[name], **{key: one for key, one in node.items() if key != "$ref"}})
        return {key: inlined(one) for key, one in node.items()}

    flat: dict[str, Any] = inlined(schema)
    return flat
