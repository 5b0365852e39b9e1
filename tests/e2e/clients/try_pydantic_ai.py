"""An agent of pydantic-ai on OpenAIChatModel."""

import asyncio

from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from case import MAX_TOKENS, NAME, QUESTION, TEXT, URL, check_usage, equal, report
from person import ASK, Person, check
from person import MAX_TOKENS as PERSON_TOKENS

MODEL = OpenAIChatModel(NAME, provider=OpenAIProvider(base_url=f"{URL}/v1", api_key="any"))
AGENT = Agent(MODEL, model_settings={"temperature": 0, "max_tokens": MAX_TOKENS})

whole = AGENT.run_sync(QUESTION)
equal("plain", whole.output, TEXT)


async def streamed():
    async with AGENT.run_stream(QUESTION) as result:
        return [part async for part in result.stream_text(delta=True)]

parts = asyncio.run(streamed())
equal("streamed", "".join(parts), TEXT)

for output in NativeOutput, ToolOutput:
    person = Agent(MODEL, output_type=output(Person), retries=0,
                   model_settings={"temperature": 0, "max_tokens": PERSON_TOKENS})
    check(output.__name__, person.run_sync(ASK).output)
report("text", "text", parsed="`NativeOutput`", called="`ToolOutput`")
