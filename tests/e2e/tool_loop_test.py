"""Tests what a loop of forced calls finds in the cache. A call that is sent back is rendered to the text that
the model wrote, and encoded to the tokens that it generated. So it is found to its end, also where the model
chose between values."""

import json

import anthropic
import openai
import pytest

from daemon import Daemon

BLOCK = 16
TURNS = 10
TOOLS = [{"type": "function", "function": {
    "name": "read_block", "description": "Reads a block of the cache.", "parameters": {
        "type": "object", "required": ["tier", "number", "part"], "properties": {
            "tier": {"type": "string", "enum": ["device", "host", "disk"]},
            "number": {"type": "integer", "minimum": 0, "maximum": 9999},
            "part": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}]}}}}},
         {"type": "function", "function": {"name": "list_tiers"}}]
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
# There is one way to call it.
FORCED = [{"type": "function", "function": {
    "name": "read_block", "description": "Reads a block of the cache.", "parameters": {
        "type": "object", "required": ["tier", "number", "part"], "additionalProperties": False,
        "properties": {"tier": {"const": "device"}, "number": {"const": 4711}, "part": {"const": None}}}}}]

HERMES = ("{% if tools %}<|im_start|>system\n<tools>{% for t in tools %}{{ t | tojson }}\n"
          "{% endfor %}</tools><|im_end|>\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
          "{{ m.content or '' }}{% for c in m.tool_calls or [] %}"
          "{% if not loop.first or m.content %}\n{% endif %}<tool_call>\n"
          "{\"name\": \"{{ c.function.name }}\", \"arguments\": {{ c.function.arguments | tojson }}}\n"
          "</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
LLAMA3 = ("{% if tools %}<|im_start|>system\nRespond with {\"name\": function name, \"parameters\": "
          "dictionary of argument name and its value}.\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}"
          "<|im_end|>\n"
          "{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n\n{% if m.tool_calls %}"
          "{% if m.tool_calls | length > 1 %}{{ raise_exception('one call at a time') }}{% endif %}"
          "{\"name\": \"{{ m.tool_calls[0].function.name }}\", \"parameters\": "
          "{{ m.tool_calls[0].function.arguments | tojson }}}{% else %}{{ m.content or '' }}{% endif %}"
          "<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}")


@pytest.fixture(scope="module", params=[HERMES, LLAMA3], ids=["hermes", "llama3"])
def daemon(request, tmp_path_factory):
    file = tmp_path_factory.mktemp("template") / "chat.jinja"
    file.write_text(request.param)
    with Daemon("--chat-template", file, "--block-tokens", BLOCK) as started:
        yield started


@pytest.fixture(scope="module")
def without_tools():
    """The template of the demo model shows no tools, and calls as the client spells them."""
    with Daemon("--block-tokens", BLOCK) as started:
        yield started


@pytest.mark.parametrize("spelled", [lambda text: text, lambda text: json.dumps(json.loads(text), indent=1)],
                         ids=["as written", "as a client spells them"])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "read_block"}}],
                         ids=["required", "named"])
@pytest.mark.parametrize("tools", [FORCED, TOOLS], ids=["forced", "chosen"])
def test_each_turn_finds_what_came_before(daemon, tools, choice, spelled):
    check_chats(daemon, tools, choice, spelled)


@pytest.mark.parametrize("tools", [FORCED, TOOLS], ids=["forced", "chosen"])
def test_each_turn_of_a_model_without_tools_finds_what_came_before(without_tools, tools):
    check_chats(without_tools, tools, "required", lambda text: text)
    check_messages(without_tools, tools)


def check_chats(daemon, tools, choice, spelled):
    client = openai.OpenAI(base_url=daemon.url + "/v1", api_key="any", max_retries=0)
    salt = f"{len(tools)} {choice} {spelled('{}')!r} {spelled('[1]')!r}"  # a cache of its own
    messages = [{"role": "user", "content": "Which port does the cache use?"}]
    reached, calls = 0, 0
    for turn in range(TURNS):
        answer = client.chat.completions.create(
            model="demo", messages=messages, tools=tools, tool_choice=choice, temperature=1, seed=turn,
            parallel_tool_calls=False, max_tokens=300, extra_body={"cache_salt": salt})
        cached = answer.usage.prompt_tokens_details.cached_tokens
        assert cached >= reached - BLOCK, (turn, cached, reached)
        reached = answer.usage.prompt_tokens + answer.usage.completion_tokens
        message = answer.choices[0].message
        assert answer.choices[0].finish_reason == "tool_calls"
        calls += len(message.tool_calls)
        messages.append({"role": "assistant", "content": None, "tool_calls": [
            {"id": call.id, "type": "function",
             "function": {"name": call.function.name, "arguments": spelled(call.function.arguments)}}
            for call in message.tool_calls]})
        for call in message.tool_calls:
            messages.append({"role": "tool", "tool_call_id": call.id, "content": f"result {turn}"})
    assert reached > 400 and calls >= TURNS


@pytest.mark.parametrize("tools", [FORCED, TOOLS], ids=["forced", "chosen"])
def test_each_turn_of_messages_finds_what_came_before(daemon, tools):
    check_messages(daemon, tools)


def check_messages(daemon, tools):
    """The client sends the arguments as an object, not as the text that the model wrote."""
    client = anthropic.Anthropic(base_url=daemon.url, api_key="any", max_retries=0)
    given = [{"name": tool["function"]["name"], "description": tool["function"].get("description", "a tool"),
              "input_schema": tool["function"].get("parameters", NOTHING)} for tool in tools]
    messages, reached = [{"role": "user", "content": "Which port does the cache use?"}], 0
    for turn in range(TURNS):
        answer = client.messages.create(
            model="demo", messages=messages, tools=given, max_tokens=300,
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
            extra_body={"temperature": 1, "seed": turn, "cache_salt": f"messages {len(tools)}"})
        usage = answer.usage
        assert usage.cache_read_input_tokens >= reached - BLOCK, (turn, usage, reached)
        reached = (usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens +
                   usage.output_tokens)
        assert answer.stop_reason == "tool_use"
        messages.append({"role": "assistant", "content": answer.content})
        messages.append({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": block.id, "content": f"result {turn}"}
            for block in answer.content if block.type == "tool_use"]})
    assert reached > 400
