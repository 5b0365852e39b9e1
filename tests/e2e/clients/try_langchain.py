"""ChatOpenAI of langchain-openai, on chats and on responses."""

from langchain_openai import ChatOpenAI

from case import MAX_TOKENS, NAME, QUESTION, TEXT, URL, check_usage, equal, report
from person import ASK, Person, check, check_call
from person import MAX_TOKENS as PERSON_TOKENS

MODEL = ChatOpenAI(base_url=f"{URL}/v1", api_key="any", model=NAME, temperature=0, max_tokens=MAX_TOKENS,
                   stream_usage=True)

whole = MODEL.invoke(QUESTION)
equal("plain", whole.content, TEXT)
check_usage("plain", whole.usage_metadata["input_tokens"], whole.usage_metadata["output_tokens"])

chunks = list(MODEL.stream(QUESTION))
total = chunks[0]
for each in chunks[1:]:
    total += each
equal("streamed", total.content, TEXT)
check_usage("streamed", total.usage_metadata["input_tokens"], total.usage_metadata["output_tokens"])
equal("more than one chunk", len(chunks) > 1, True)
cached = total.usage_metadata["input_token_details"]["cache_read"]
equal("cached tokens of the second request", cached > 0, True)

long = ChatOpenAI(base_url=f"{URL}/v1", api_key="any", model=NAME, temperature=0, max_tokens=PERSON_TOKENS)
check("json_schema", long.with_structured_output(Person, method="json_schema").invoke(ASK))
check("function_calling", long.with_structured_output(Person, method="function_calling").invoke(ASK))
for choice in "required", "Person":
    [call] = long.bind_tools([Person], tool_choice=choice, parallel_tool_calls=False).invoke(ASK).tool_calls
    check_call(f"tool_choice {choice}", call["name"], call["args"])

responses = ChatOpenAI(base_url=f"{URL}/v1", api_key="any", model=NAME, temperature=0, max_tokens=MAX_TOKENS,
                       use_responses_api=True)
whole = responses.invoke(QUESTION)
equal("a response", whole.text, TEXT)
check_usage("a response", whole.usage_metadata["input_tokens"], whole.usage_metadata["output_tokens"])
equal("a streamed response", "".join(each.text for each in responses.stream(QUESTION)), TEXT)
long = ChatOpenAI(base_url=f"{URL}/v1", api_key="any", model=NAME, temperature=0, max_tokens=PERSON_TOKENS,
                  use_responses_api=True)
check("a response, json_schema", long.with_structured_output(Person, method="json_schema").invoke(ASK))
[call] = long.bind_tools([Person], tool_choice="Person").invoke(ASK).tool_calls
check_call("a response", call["name"], call["args"])
report("text, usage", "text, usage", "cached tokens are `input_token_details.cache_read`",
       parsed="`with_structured_output(…, method=\"json_schema\")`",
       called="`bind_tools`, `\"function_calling\"`")
