"""The library of LiteLLM, which many tools use, with its provider `openai`."""

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
report("text, usage", "text, usage", "a full context raises ContextWindowExceededError", refused=[400],
       parsed="`response_format=Person`", called="`tools`, `tool_choice`")
