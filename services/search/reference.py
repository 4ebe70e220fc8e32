"""The API's reference as one page without scripts, so that it opens where there is no internet.

The usual pages load their scripts from a content delivery network. /openapi.json serves every tool
that wants more than reading.
"""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2733;background:#fff}
h2{margin-top:3rem;border-bottom:1px solid #d5dde5;text-transform:capitalize} h3 code{font-size:1.05rem}
pre{background:#f3f6f9;padding:.8rem;overflow:auto;border-radius:6px;font-size:.85rem} table{border-collapse:collapse}
td,th{text-align:left;padding:.25rem .8rem .25rem 0;vertical-align:top;border-bottom:1px solid #e6ebf0}
.verb{color:#fff;background:#2b6cb0;border-radius:4px;padding:.1rem .45rem;margin-right:.5rem;font-size:.8rem}
@media(prefers-color-scheme:dark){body{color:#dde5ec;background:#14191f} pre{background:#1e262e}
td,th,h2{border-color:#2c3742}}
"""


def reference_page(openapi: Mapping[str, Any]) -> str:
    """An HTML page that lists every operation of an OpenAPI 3.1 document: parameters, body, answer, examples."""
    info = openapi["info"]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])} API</title>"
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])} API <small>{escape(info['version'])}</small></h1>"
        f"<p>{_prose(info.get('description', ''))}</p>"
        "<p>For tools: <a href=openapi.json>openapi.json</a> (OpenAPI 3.1).</p>" + "".join(_sections(openapi))
    )


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _sections(openapi: Mapping[str, Any]) -> Iterator[str]:
    by_tag: dict[str, list[str]] = {}
    for path, operations in openapi["paths"].items():
        for verb, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append(_operation(openapi, path, verb, operation))
    for tag, operations in by_tag.items():
        yield f"<h2>{escape(tag)}</h2>" + "".join(operations)


def _operation(openapi: Mapping[str, Any], path: str, verb: str, operation: Mapping[str, Any]) -> str:
    parts = [
        f"<h3><span class=verb>{escape(verb.upper())}</span><code>{escape(path)}</code></h3>",
        f"<p><b>{escape(operation.get('summary', ''))}.</b> {_prose(operation.get('description', ''))}</p>",
    ]
    if operation.get("parameters"):
        ordered = sorted(operation["parameters"], key=lambda parameter: not parameter.get("required"))
        rows = "".join(_parameter(openapi, parameter) for parameter in ordered)
        parts.append(f"<table><tr><th>Parameter<th>Type<th>Meaning</tr>{rows}</table>")
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body: <code>{escape(kind)}</code></p>{_examples(openapi, content)}")
    answered = operation.get("responses", {}).get("200", {}).get("content", {})
    for kind, content in answered.items():
        example = _examples(openapi, content)
        if example:
            parts.append(f"<p>Answer: <code>{escape(kind)}</code></p>{example}")
    return "".join(parts)


def _parameter(openapi: Mapping[str, Any], parameter: Mapping[str, Any]) -> str:
    schema = parameter["schema"]
    kinds = [_resolved(openapi, one) for one in (schema, *schema.get("anyOf", []))]
    kind = " or ".join(
        ", ".join(one["enum"]) if "enum" in one else str(one.get("format") or one["type"])
        for one in kinds
        if one.get("type", "null") != "null"
    )
    bounds = [
        f"{word} {one[name]}"
        for one in (schema, *kinds[1:])
        for name, word in (("minimum", "from"), ("maximum", "to"), ("default", "default"))
        if one.get(name) is not None
    ]
    meaning = _prose(parameter.get("description") or schema.get("description") or "")
    examples = ", ".join(f"<code>{escape(str(example))}</code>" for example in schema.get("examples", []))
    return (
        f"<tr><td><code>{escape(parameter['name'])}</code>{' (required)' if parameter.get('required') else ''}"
        f"<td>{escape(', '.join([kind, *bounds]).strip(', '))}<td>{meaning}"
        f"{f' For example {examples}.' if examples else ''}</tr>"
    )


def _examples(openapi: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    if "examples" in content:
        examples = [one["value"] for one in content["examples"].values()]
    elif "example" in content:
        examples = [content["example"]]
    else:
        resolved = _resolved(openapi, content.get("schema", {}))
        if "example" not in resolved and resolved.get("type") == "object" and "properties" in resolved:
            fields = ", ".join(f"<code>{escape(name)}</code>" for name in resolved["properties"])
            return f"<p>Fields: {fields}</p>"
        examples = [resolved["example"]] if "example" in resolved else []
    return "".join(f"<pre>{escape(_shown(example))}</pre>" for example in examples)


def _shown(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)


def _resolved(openapi: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    resolved: Mapping[str, Any] = openapi.get("components", {}).get("schemas", {}).get(name, schema)
    return resolved
