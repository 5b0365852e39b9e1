"""Checks the document of /openapi.json: that it is valid, has the routes of docs/API.md and every field
that is read, and that what it forbids is refused."""

import json
import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from daemon import Daemon, ROOT
from malformed_bodies import BODIES

# By type in the document: a value of another type, and its type for tokens of the route.
WRONG = {"boolean": "yes", "integer": 1.5, "number": "1", "string": 5, "array": 5, "object": 5}
# Bodies of routes that have no effect on others; a wrong value is set in each.
VALID = {path: json.loads(json.dumps(bodies[-1])) for path, bodies in BODIES.items()}
VALID["/v1/responses"] = {"model": "demo", "input": "Hi"}
VALID["/v1/responses/input_tokens"] = {"model": "demo", "input": "Hi"}
VALID["/v1/messages"] = VALID["/v1/messages/count_tokens"] = {
    "model": "demo", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
VALID["/v1/tokenize"] = {"messages": [{"role": "user", "content": "Hi"}]}
# Fields that are read only beside others, or only of one form of the route's body.
BESIDE = {"functions": {}, "function_call": {"functions": [{"name": "f"}]},
          "add_special": {"content": "x"}, "parse_special": {"content": "x"}, "with_pieces": {"content": "x"},
          "tool_choice": {"tools": []}}


@pytest.fixture(scope="module")
def daemon():
    with Daemon("--context", 256) as started:
        yield started


@pytest.fixture(scope="module")
def document(daemon):
    status, _, text = daemon.get("/openapi.json")
    assert status == 200
    return json.loads(text)


def operations(document):
    return {(method.upper(), path): operation for path, operations in document["paths"].items()
            for method, operation in operations.items()}


def body_schema(operation):
    return operation["requestBody"]["content"]["application/json"]["schema"]


def test_the_document_is_valid(document):
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_the_page_has_the_routes_of_the_document(document):
    table = (ROOT / "docs/API.md").read_text().split("## Routes")[1].split("\n## ")[0]
    named = {path if path.startswith(("/v1/", "/ready", "/metrics", "/version", "/kv_")) else "/v1" + path
             for path in re.findall(r"(/[\w/.*-]+)`", table) if path not in ("/v1", "/cancel")}
    documented = {re.sub(r"\{\w+\}", "*", path) for path in document["paths"]}
    assert documented == named


def test_routes_answer_as_the_document_says(daemon, document):
    for (method, path), operation in operations(document).items():
        filled = re.sub(r"\{\w+\}", "nothing", path)
        other = next(m for m in ("PUT", "PATCH") if m.lower() not in document["paths"][path])
        status, headers, _ = daemon.request(other, filled)
        assert status == 405 and method in headers["Allow"], (other, filled)
        if method == "POST" and "requestBody" in operation:
            assert daemon.request("POST", filled, 5)[0] == 400, filled
        elif any(parameter.get("required") and parameter["in"] == "query"
                 for parameter in operation.get("parameters", [])):
            assert daemon.request(method, filled)[0] == 400, filled
        elif "200" in operation["responses"] and "{" not in path:
            assert daemon.request(method, filled)[0] == 200, filled
        else:
            assert daemon.request(method, filled)[0] == 404, filled


def test_every_typed_field_is_read_on_its_route(daemon, document):
    """A field of the document whose type is wrong is refused by name, so it is read and its row is right."""
    tried = 0
    for (_, path), operation in operations(document).items():
        if "requestBody" not in operation:
            continue
        schema = body_schema(operation)
        for name, field in schema["properties"].items():
            kind = (field.get("anyOf") or [field])[0].get("type")
            if not isinstance(kind, str) or kind not in WRONG or \
                    "Not supported" in field.get("description", ""):
                continue
            body = {**VALID[path], **BESIDE.get(name, {}), name: WRONG[kind]}
            if "content" in body or "prompt" in body and path == "/v1/tokenize":
                body.pop("messages", None)
            status, _, text = daemon.request("POST", path, body)
            assert status == 400 and name in text, (path, body, status, text)
            tried += 1
    assert tried > 200


def test_unsupported_fields_are_refused_but_for_the_value_that_the_document_allows(daemon, document):
    tried = 0
    for (_, path), operation in operations(document).items():
        if "requestBody" not in operation:
            continue
        for name, field in body_schema(operation)["properties"].items():
            if "Not supported" not in field.get("description", ""):
                continue
            status, _, text = daemon.request("POST", path, {**VALID[path], name: {"a": 5}})
            assert status == 400 and name in text, (path, name, status, text)
            allowed = field["anyOf"][0]
            value = allowed.get("const", allowed.get("enum", [allowed.get("maximum")])[0])
            status, _, text = daemon.request("POST", path, {**VALID[path], name: value})
            assert status == 200, (path, name, value, status, text)
            tried += 1
    assert tried > 100
