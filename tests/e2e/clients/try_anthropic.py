"""The official client `anthropic`, with the variables that tools made on it read."""

import os

import anthropic

from case import MAX_TOKENS, NAME, QUESTION, TEXT, URL, check_usage, equal, report
from person import ASK, Person, check_call
from person import MAX_TOKENS as PERSON_TOKENS

os.environ.update(ANTHROPIC_BASE_URL=URL, ANTHROPIC_API_KEY="any")
CLIENT = anthropic.Anthropic(max_retries=0)
ASKED = {"model": NAME, "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": QUESTION}],
         "extra_body": {"temperature": 0}}
TOOLS = {**ASKED, "max_tokens": PERSON_TOKENS, "messages": [{"role": "user", "content": ASK}],
         "tools": [{"name": "Person", "input_schema": Person.model_json_schema()}],
         "tool_choice": {"type": "tool", "name": "Person"}}


def prompt_of(usage):
    return usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens


whole = CLIENT.messages.create(**ASKED)
equal("plain", whole.content[0].text, TEXT)
check_usage("plain", prompt_of(whole.usage), whole.usage.output_tokens)

with CLIENT.messages.stream(**ASKED) as stream:
    equal("streamed", "".join(stream.text_stream), TEXT)
    last = stream.get_final_message()
check_usage("streamed", prompt_of(last.usage), last.usage.output_tokens)

with CLIENT.messages.stream(**TOOLS) as stream:
    parts = [event.partial_json for event in stream if event.type == "input_json"]
    message = stream.get_final_message()
[call] = [block for block in message.content if block.type == "tool_use"]
check_call("a streamed call", call.name, call.input)
check_call("the parts of its arguments", call.name, "".join(parts))
equal("stop_reason", message.stop_reason, "tool_use")

turns = [*TOOLS["messages"], {"role": "assistant", "content": message.content},
         {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "known"}]}]
after = CLIENT.messages.create(**{**TOOLS, "messages": turns, "tool_choice": {"type": "none"}})
equal("cached tokens after the result of a call", after.usage.cache_read_input_tokens > 0, True)
report("text, usage", "text, usage", called="`tool_choice` of a tool, streamed")
