"""The Agents SDK of OpenAI on OpenAIChatCompletionsModel."""

import asyncio

from agents import (Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool,
                    set_tracing_disabled)
from openai import AsyncOpenAI
from openai.types.responses import ResponseTextDeltaEvent

from case import MAX_TOKENS, NAME, QUESTION, TEXT, URL, equal, report
from person import ASK, Person, check
from person import MAX_TOKENS as PERSON_TOKENS

set_tracing_disabled(True)
MODEL = OpenAIChatCompletionsModel(
    model=NAME, openai_client=AsyncOpenAI(base_url=f"{URL}/v1", api_key="any", max_retries=0))
AGENT = Agent(name="plain", model=MODEL, model_settings=ModelSettings(temperature=0, max_tokens=MAX_TOKENS))
PERSON = Agent(name="person", model=MODEL, output_type=Person,
               model_settings=ModelSettings(temperature=0, max_tokens=PERSON_TOKENS))
CALLED = []


@function_tool
def greet(person: Person) -> str:
    """Greets a person."""
    CALLED.append(person)
    return "greeted"


CALLER = Agent(name="caller", model=MODEL, tools=[greet], tool_use_behavior="stop_on_first_tool",
               model_settings=ModelSettings(temperature=0, max_tokens=PERSON_TOKENS, tool_choice="required",
                                            parallel_tool_calls=False))


async def tried():
    whole = await Runner.run(AGENT, QUESTION)
    equal("plain", whole.final_output, TEXT)
    stream = Runner.run_streamed(AGENT, QUESTION)
    parts = [event.data.delta async for event in stream.stream_events()
             if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent)]
    equal("streamed", "".join(parts), TEXT)
    check("output_type", (await Runner.run(PERSON, ASK)).final_output)
    equal("final_output of a call", (await Runner.run(CALLER, ASK)).final_output, "greeted")
    equal("calls", len(CALLED), 1)
    check("argument", CALLED[0])

asyncio.run(tried())
report("text", "text", parsed="`output_type`", called="`function_tool`, `tool_choice=\"required\"`")
