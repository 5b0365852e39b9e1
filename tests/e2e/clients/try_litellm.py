"""The library of LiteLLM, which many tools use: its providers `openai` and `anthropic`, and its calls of
responses and of messages."""

import asyncio

import litellm

from case import MAX_TOKENS, NAME, QUESTION, TEXT, URL, check_usage, equal, report
from person import ASK, Person, check, check_call
from person import MAX_TOKENS as PERSON_TOKENS

OPTIONS = {"model": f"openai/{NAME}", "api_base": f"{URL}/v1", "api_key": "any", "temperature": 0,
           "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": QUESTION}]}

whole = litellm.completion(**OPTIONS)
equal("plain", whole.choices[0].message.content, TEXT)
check_usage("plain", whole.usage.prompt_tokens, whole.usage.completion_tokens)

chunks = list(litellm.completion(**OPTIONS, stream=True, stream_options={"include_usage": True}))
equal("streamed", "".join(each.choices[0].delta.content or "" for each in chunks if each.choices), TEXT)
usage = [each.usage for each in chunks if getattr(each, "usage", None)]
check_usage("streamed", usage[-1].prompt_tokens, usage[-1].completion_tokens)

try:
    litellm.completion(**{**OPTIONS, "max_tokens": 10_000_000})
    equal("a full context", "no error", "ContextWindowExceededError")
except litellm.ContextWindowExceededError:
    pass

ASKED = {**OPTIONS, "max_tokens": PERSON_TOKENS, "messages": [{"role": "user", "content": ASK}]}
answer = litellm.completion(**ASKED, response_format=Person)
check("response_format", Person.model_validate_json(answer.choices[0].message.content))
TOOL = {"type": "function", "function": {"name": "Person", "parameters": Person.model_json_schema()}}
for choice in "required", {"type": "function", "function": {"name": "Person"}}:
    answer = litellm.completion(**ASKED, tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)
    [call] = answer.choices[0].message.tool_calls
    check_call(f"tool_choice {choice}", call.function.name, call.function.arguments)

TO = {"api_base": f"{URL}/v1", "api_key": "any", "temperature": 0}
answer = litellm.responses(model=f"openai/{NAME}", input=QUESTION, max_output_tokens=MAX_TOKENS, **TO)
equal("responses", answer.output[0].content[0].text, TEXT)
events = litellm.responses(model=f"openai/{NAME}", input=QUESTION, max_output_tokens=MAX_TOKENS, stream=True,
                           **TO)
deltas = [each.delta for each in events if each.type == "response.output_text.delta"]
equal("streamed responses", "".join(deltas), TEXT)
answer = litellm.completion(**{**OPTIONS, "model": f"openai/responses/{NAME}"})
equal("a chat over responses", answer.choices[0].message.content, TEXT)
CLAUDE = {**ASKED, "model": f"anthropic/{NAME}", "api_base": URL}
answer = litellm.completion(**{**CLAUDE, "max_tokens": MAX_TOKENS, "messages": OPTIONS["messages"]})
equal("a chat over messages", answer.choices[0].message.content, TEXT)
check_usage("a chat over messages", answer.usage.prompt_tokens, answer.usage.completion_tokens)
answer = litellm.completion(**CLAUDE, tools=[TOOL], tool_choice="required")
check_call("a chat over messages", answer.choices[0].message.tool_calls[0].function.name,
           answer.choices[0].message.tool_calls[0].function.arguments)
answer = asyncio.run(litellm.anthropic.messages.acreate(
    model=f"openai/{NAME}", messages=OPTIONS["messages"], max_tokens=MAX_TOKENS, **TO))
equal("messages over the provider openai", answer["content"][0]["text"], TEXT)
report("text, usage", "text, usage", "a full context raises ContextWindowExceededError", refused=[400],
       parsed="`response_format=Person`", called="`tools`, `tool_choice`")
