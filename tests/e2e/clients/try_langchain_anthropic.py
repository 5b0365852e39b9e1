"""ChatAnthropic of langchain-anthropic, on messages."""

import typing

import pydantic
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage

from case import EXPECTED, MAX_TOKENS, NAME, QUESTION, TEXT, URL, check_usage, equal, report
from person import ASK, Person, check, check_call
from person import MAX_TOKENS as PERSON_TOKENS

ASKED = {"base_url": URL, "api_key": "any", "model": NAME, "temperature": 0, "max_retries": 0}
MODEL = ChatAnthropic(**ASKED, max_tokens=MAX_TOKENS)


class Answer(pydantic.BaseModel):
    """What json_schema is tried with: the client turns bounds, as those of a Person, into descriptions."""
    model_config = pydantic.ConfigDict(extra="forbid")
    age: typing.Literal["new", "old"]
    known: bool



whole = MODEL.invoke(QUESTION)
equal("plain", whole.text, TEXT)
check_usage("plain", whole.usage_metadata["input_tokens"], whole.usage_metadata["output_tokens"])

chunks = list(MODEL.stream(QUESTION))
total = chunks[0]
for each in chunks[1:]:
    total += each
equal("streamed", total.text, TEXT)
check_usage("streamed", total.usage_metadata["input_tokens"], total.usage_metadata["output_tokens"])
equal("more than one chunk", len(chunks) > 1, True)
cached = total.usage_metadata["input_token_details"]["cache_read"]
equal("cached tokens of the second request", cached > 0, True)
counted = MODEL.get_num_tokens_from_messages([HumanMessage(QUESTION)])
equal("counted tokens", counted, EXPECTED["prompt_tokens"])

long = ChatAnthropic(**ASKED, max_tokens=PERSON_TOKENS)
check("function_calling", long.with_structured_output(Person, method="function_calling").invoke(ASK))
read = long.with_structured_output(Answer, method="json_schema").invoke(ASK)
equal("type, json_schema", type(read), Answer)
for choice in "any", "Person":
    bound = long.bind_tools([Person], tool_choice=choice)
    answer = bound.invoke(ASK)
    call = answer.tool_calls[0]
    check_call(f"tool_choice {choice}", call["name"], call["args"])
streamed = None
for chunk in bound.stream(ASK):
    streamed = chunk if streamed is None else streamed + chunk
check_call("a streamed call", streamed.tool_calls[0]["name"], streamed.tool_calls[0]["args"])
turns = [HumanMessage(ASK), answer, ToolMessage("known", tool_call_id=call["id"])]
after = long.bind_tools([Person], tool_choice={"type": "none"}).invoke(turns)
cached = after.usage_metadata["input_token_details"]["cache_read"]
equal("cached tokens after the result of a call", cached > 0, True)
report("text, usage", "text, usage", parsed="`with_structured_output`, as above",
       called="`bind_tools`, `\"function_calling\"`")
