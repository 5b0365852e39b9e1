"""The Agents SDK of OpenAI on OpenAIChatCompletionsModel, and on OpenAIResponsesModel, its default."""

import asyncio

from agents import (Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner,
                    function_tool, set_tracing_disabled)
from openai import AsyncOpenAI
from openai.types.responses import ResponseTextDeltaEvent

from case import MAX_TOKENS, NAME, QUESTION, TEXT, URL, equal, report
from person import ASK, Person, check
from person import MAX_TOKENS as PERSON_TOKENS

set_tracing_disabled(True)
CLIENT = AsyncOpenAI(base_url=f"{URL}/v1", api_key="any", max_retries=0)


@function_tool
def greet(person: Person) -> str:
    """Greets a person."""
    check("argument", person)
    return "greeted"


async def tried(model):
    settings = ModelSettings(temperature=0, max_tokens=PERSON_TOKENS)
    plain = Agent(name="plain", model=model,
                  model_settings=ModelSettings(temperature=0, max_tokens=MAX_TOKENS))
    person = Agent(name="person", model=model, output_type=Person, model_settings=settings)
    caller = Agent(name="caller", model=model, tools=[greet], tool_use_behavior="stop_on_first_tool",
                   model_settings=settings.resolve(ModelSettings(tool_choice="required",
                                                                 parallel_tool_calls=False)))
    whole = await Runner.run(plain, QUESTION)
    equal("plain", whole.final_output, TEXT)
    stream = Runner.run_streamed(plain, QUESTION)
    parts = [event.data.delta async for event in stream.stream_events()
             if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent)]
    equal("streamed", "".join(parts), TEXT)
    check("output_type", (await Runner.run(person, ASK)).final_output)
    equal("final_output of a call", (await Runner.run(caller, ASK)).final_output, "greeted")


async def both():
    for kind in OpenAIChatCompletionsModel, OpenAIResponsesModel:
        await tried(kind(model=NAME, openai_client=CLIENT))

asyncio.run(both())
report("text", "text", parsed="`output_type`", called="`function_tool`, `tool_choice=\"required\"`")
