"""Tests tools in chat completions with the official OpenAI client."""

import json

import jsonschema
import openai
import pytest

from daemon import Daemon, run

QUESTION = [{"role": "user", "content": "What is prefixd?"}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Wetter für é",
                                           "parameters": {"type": "object",
                                                          "properties": {"city": {"type": "string"}},
                                                          "required": ["city"]}}},
         {"type": "function", "function": {"name": "now"}}]
NAMED = {"type": "function", "function": {"name": "now"}}
TEMPLATE = ("{% if tools %}<tools>{{ tools | tojson }}</tools>\n{% endif %}{% for m in messages %}"
            "<|im_start|>{{ m.role }}\n{{ m.content or '' }}{% for c in m.tool_calls or [] %}<tool_call>\n"
            "{\"name\": \"{{ c.function.name }}\", \"arguments\": {{ c.function.arguments | tojson }}}\n"
            "</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


@pytest.fixture(scope="module", params=["template with tools", "template without tools"])
def daemon(request, tmp_path_factory):
    options = []
    if request.param == "template with tools":
        file = tmp_path_factory.mktemp("template") / "chat.jinja"
        file.write_text(TEMPLATE)
        options = ["--chat-template", file]
    with Daemon(*options) as started:
        yield started


@pytest.fixture
def chat(daemon):
    client = openai.OpenAI(base_url=daemon.url + "/v1", api_key="any", max_retries=0)

    def create(messages=QUESTION, **fields):
        return client.chat.completions.create(**{"model": "demo", "messages": messages, "temperature": 0,
                                                 "max_tokens": 24, **fields})

    return create


def test_the_tools_are_part_of_the_prompt_whatever_is_chosen(chat):
    bare = chat().usage.prompt_tokens
    answers = [chat(tools=TOOLS, **choice)
               for choice in ({}, {"tool_choice": "auto"}, {"tool_choice": "none"})]
    counts = [answer.usage.prompt_tokens for answer in answers]
    assert counts[0] > bare + 20 and len(set(counts)) == 1
    for answer in answers:
        assert answer.choices[0].message.content and answer.choices[0].message.tool_calls is None
        assert answer.choices[0].finish_reason in ("stop", "length")


def test_a_stream_gives_the_same_as_a_whole_answer(chat):
    whole = chat(tools=TOOLS).choices[0]
    text, finish = "", None
    for chunk in chat(tools=TOOLS, stream=True):
        for choice in chunk.choices:
            assert choice.delta.tool_calls is None
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    assert (text, finish) == (whole.message.content, whole.finish_reason)


def test_a_call_and_its_result_are_shown_to_the_model(chat):
    call = {"id": "call_abcdefghijklmnopqrstuvwx", "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    turn = QUESTION + [{"role": "assistant", "content": None, "tool_calls": [call]}]
    counts = [chat(turn + [{"role": "tool", "tool_call_id": call["id"], "content": result}],
                   tools=TOOLS).usage.prompt_tokens for result in ("sun", "sun and rain, and later snow")]
    assert chat(tools=TOOLS).usage.prompt_tokens < counts[0] < counts[1]


SEARCH = {"type": "function", "function": {"name": "search", "strict": True, "parameters": {
    "type": "object", "additionalProperties": False, "required": ["query", "limit", "order", "tags", "near"],
    "properties": {"query": {"type": "string", "maxLength": 12},
                   "limit": {"type": "integer", "minimum": 1, "maximum": 50},
                   "order": {"type": "string", "enum": ["newest", "best"]},
                   "tags": {"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 2},
                   "near": {"anyOf": [{"type": "number"}, {"type": "null"}]}}}}}


def check_call(call, tools):
    """The call names a tool, and its arguments are what the schema allows."""
    schema = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in tools}[call.name]
    jsonschema.validate(json.loads(call.arguments), {"additionalProperties": False, **schema})


@pytest.mark.parametrize("choice, names", [
    ("required", {"get_weather", "now", "search"}), (NAMED, {"now"}),
    ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
        {"type": "function", "function": {"name": "search"}}]}}, {"search"})])
def test_a_forced_call_is_well_formed_and_valid(daemon, choice, names):
    client = openai.OpenAI(base_url=daemon.url + "/v1", api_key="any", max_retries=0)
    tools = TOOLS + [SEARCH]
    complete, seen = 0, set()
    for seed in range(6):
        fields = {"messages": QUESTION, "tools": tools, "tool_choice": choice, "model": "demo",
                  "max_tokens": 400, "temperature": seed / 4, "seed": seed,
                  "parallel_tool_calls": seed % 2 > 0}
        answer = client.chat.completions.create(**fields).choices[0]
        assert answer.message.tool_calls
        text, finish = {}, None
        for chunk in client.chat.completions.create(**fields, stream=True):
            for delta in chunk.choices[0].delta.tool_calls or []:
                text[delta.index] = text.get(delta.index, "") + (delta.function.arguments or "")
            finish = chunk.choices[0].finish_reason or finish
        assert list(text.values()) == [call.function.arguments for call in answer.message.tool_calls]
        assert finish == answer.finish_reason
        if finish == "length":  # a call that is cut off before its name is content
            continue
        assert finish == "tool_calls" and answer.message.content is None
        complete += 1
        if not fields["parallel_tool_calls"] or choice == NAMED:
            assert len(answer.message.tool_calls) == 1
        for call in answer.message.tool_calls:
            check_call(call.function, tools)
            seen.add(call.function.name)
    assert complete >= 3 and seen <= names and seen


def test_the_older_fields_force_a_call(chat):
    functions = [tool["function"] for tool in TOOLS]
    answer = chat(functions=functions, function_call={"name": "now"}, max_tokens=100).choices[0]
    assert answer.finish_reason == "function_call"
    assert (answer.message.function_call.name, answer.message.function_call.arguments) == ("now", "{}")


@pytest.mark.parametrize("fields, param, code", [
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "x"}}}],
      "tool_choice": "required"}, "tools", "invalid_function_parameters"),
    ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice",
     "invalid_value"),
    ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice", "invalid_value"),
    ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name",
     "invalid_value"),
    ({"tools": [{"type": "custom", "custom": {"name": "a"}}]}, "tools[0]", "unsupported_parameter"),
])
def test_what_cannot_be_carried_out_is_refused_by_name(chat, fields, param, code):
    with pytest.raises(openai.BadRequestError) as refused:
        chat(**fields)
    assert (refused.value.param, refused.value.code) == (param, code)


def test_an_unknown_format_ends_the_program_with_the_known_names():
    done = run("serve", "--model", "m", "--tool-format", "hermez")
    assert done.returncode == 2
    assert "'hermez' is unknown; it takes one of: auto harmony " in done.stderr
