"""Answers that match a format: JSON Schemas, regexes, choices and grammars, alone and in company.

random_schema_answers.py checks more random schemas, by hand.
"""

import json
import random
import re
import typing

import jsonschema
import pydantic
import pytest

import random_schema
import random_schema_answers
from conformance_server import USER, server
from random_schema_answers import TEMPERATURES, schema_format

SCHEMAS = 24


def chat(server, **fields):
    body = {"model": server.model, "messages": USER, "max_tokens": 160, **fields}
    status, answer = server.json("POST", "/v1/chat/completions", body)
    assert status == 200, (answer, fields)
    choice = answer["choices"][0]
    return choice["message"]["content"], choice["finish_reason"]


def test_answers_to_random_schemas_validate_and_those_cut_are_beginnings(server):
    rng = random.Random(11)
    schemas = [random_schema.root(rng) for _ in range(SCHEMAS)]
    answers = random_schema_answers.answers(server, schemas, lambda i: [TEMPERATURES[i % len(TEMPERATURES)]])
    counts, faults = random_schema_answers.faults(answers)
    assert faults == []
    assert counts["stop"] > SCHEMAS / 4 and counts["length"] > SCHEMAS / 8, "both kinds show something"
    # The law: alone and without the cache, the text is the same.
    for answer in answers[:8]:
        assert chat(server, **answer.fields, cache_prompt=False) == (answer.text, answer.finish)


def test_random_schemas_with_an_unsupported_keyword_are_refused_by_its_name(server):
    rng = random.Random(12)
    refused = [random_schema.unsupported(rng) for _ in range(40)]
    assert random_schema_answers.refusal_faults(server, refused) == []


def test_a_stream_has_the_same_text(server):
    fields = {"response_format": schema_format(random_schema.root(random.Random(5))), "temperature": 1,
              "seed": 3, "messages": USER, "max_tokens": 120}
    events = server.events("/v1/chat/completions", fields).decode().split("\n\n")
    chunks = [json.loads(event[6:]) for event in events if event.startswith("data: {")]
    text = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
    assert text == chat(server, **fields)[0]


def test_json_object(server):
    for seed in range(4):
        text, finish = chat(server, response_format={"type": "json_object"}, temperature=1, seed=seed,
                            max_tokens=60)
        assert text.startswith("{")
        if finish == "stop":
            assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize("wrapped", [False, True])
def test_regex_choice_and_grammar(server, wrapped):
    def answer(kind, value, seed):
        fields = {"structured_outputs": {kind: value}} if wrapped else {f"guided_{kind}": value}
        return chat(server, **fields, temperature=1.5, seed=seed)

    for seed in range(3):
        assert answer("choice", ["yes", "no", "perhaps ä"], seed)[0] in ("yes", "no", "perhaps ä")
        text, finish = answer("regex", "(ab|c){2,4}-[0-9]+", seed)
        assert re.fullmatch("(ab|c){2,4}-[0-9]+" if finish == "stop" else "[abc]*-?[0-9]*", text)
        text, finish = answer("grammar", 'root ::= "(" root? ")"', seed)
        assert finish == "length" or text == "(" * (len(text) // 2) + ")" * (len(text) // 2)
        text, finish = answer("json", '{"type":"integer","minimum":10,"maximum":99}', seed)
        assert finish == "stop" and 10 <= int(text) <= 99


def test_an_answer_ends_where_nothing_can_follow_also_with_ignore_eos_and_min_tokens(server):
    text, finish = chat(server, guided_choice=["yes"], ignore_eos=True, min_tokens=20, max_tokens=40)
    assert (text, finish) == ("yes", "stop")


def test_completions_take_formats_too(server):
    status, answer = server.json("POST", "/v1/completions",
                                 {"prompt": ["a", "b"], "n": 2, "guided_regex": "[ab]{3}", "max_tokens": 20,
                                  "temperature": 1})
    assert status == 200
    assert all(re.fullmatch("[ab]{3}", choice["text"]) for choice in answer["choices"])


def test_the_parse_helper_of_the_official_client(server):
    class Person(pydantic.BaseModel):
        name: str = pydantic.Field(max_length=8)
        age: int = pydantic.Field(ge=0, le=150)
        tags: list[typing.Literal["new", "old"]] = pydantic.Field(max_length=2)

    completion = server.client.chat.completions.parse(model=server.model, messages=USER, temperature=0,
                                                      max_tokens=400, response_format=Person)
    assert completion.choices[0].finish_reason == "stop"
    assert 0 <= completion.choices[0].message.parsed.age <= 150


@pytest.mark.parametrize("schema,words", [
    ({"type": "object", "properties": {"a": {"type": "object", "patternProperties": {}}}},
     "#/properties/a: 'patternProperties' is not supported"),
    ({"type": "array"}, "'items'"),
    ({"type": "object", "required": ["a"]}, "no text matches"),
    ({"$ref": "#/nowhere"}, "nowhere"),
    ({"type": "string", "pattern": "(a|b)*a(a|b){30}", "maxLength": 99}, "more states"),
])
def test_refused_schemas(server, schema, words):
    status, answer = server.json("POST", "/v1/chat/completions",
                                 {"messages": USER, "response_format": schema_format(schema, strict=True)})
    assert status == 400
    assert answer["error"]["code"] == "invalid_json_schema"
    assert answer["error"]["param"] == "response_format.json_schema.schema"
    assert words in answer["error"]["message"]


def test_without_strict_keywords_are_ignored_and_counted(server):
    name = "prefixd_ignored_schema_keywords_total"
    before = server.metric(name)
    schema = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True, "maxItems": 1}},
              "propertyNames": {}, "additionalProperties": False}
    text, finish = chat(server, response_format=schema_format(schema), max_tokens=300, temperature=0)
    assert finish == "length" or isinstance(json.loads(text), dict)
    assert server.metric(name) - before == 2


def test_a_hostile_schema_is_refused(server):
    """10 MB of properties, references that double, and nesting."""
    wide = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(300_000)}}
    doubling = {"$defs": {"d0": {"type": "null"}}, "$ref": "#/$defs/d39"}
    for i in range(1, 40):
        ref = {"$ref": f"#/$defs/d{i - 1}", "maxLength": 1}
        doubling["$defs"][f"d{i}"] = {"properties": {"a": ref, "b": ref}}
    for schema in (wide, doubling):
        status, answer = server.json("POST", "/v1/chat/completions",
                                     {"messages": USER, "response_format": schema_format(schema)})
        assert (status, answer["error"]["code"]) == (400, "invalid_json_schema"), answer
    deep = {"type": "null"}
    for _ in range(500):
        deep = {"type": "array", "items": deep}
    status, answer = server.json("POST", "/v1/chat/completions",
                                 {"messages": USER, "response_format": schema_format(deep)})
    assert status == 400 and "deep" in answer["error"]["message"], answer


def test_large_formats_stay_within_their_memory(server):
    """Each has some 40,000 states, and so many different ones do not fit at once."""
    limit = 64 << 20
    for i in range(24):
        words = [f"{i} {j} " + "word" * 10 for j in range(900)]
        text, finish = chat(server, response_format=schema_format({"enum": words}), max_tokens=60)
        assert finish == "length" or json.loads(text) in words
        assert server.metric("prefixd_format_bytes") <= limit
    assert server.metric("prefixd_format_bytes") > 8 << 20
    assert server.metric("prefixd_formats_compiled_total") >= 24
