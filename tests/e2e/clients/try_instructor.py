"""Instructor on the openai client, in its modes JSON_SCHEMA and TOOLS."""

import instructor
import openai

from case import MAX_TOKENS, NAME, QUESTION, TEXT, URL, check_usage, equal, report
from person import ASK, Person, check
from person import MAX_TOKENS as PERSON_TOKENS

CLIENT = openai.OpenAI(base_url=f"{URL}/v1", api_key="any", max_retries=0)
MESSAGES = [{"role": "user", "content": QUESTION}]
ASKED = {"model": NAME, "temperature": 0, "max_tokens": PERSON_TOKENS, "max_retries": 0,
         "messages": [{"role": "user", "content": ASK}]}

plain = CLIENT.chat.completions.create(model=NAME, messages=MESSAGES, temperature=0, max_tokens=MAX_TOKENS)
equal("plain", plain.choices[0].message.content, TEXT)
check_usage("plain", plain.usage.prompt_tokens, plain.usage.completion_tokens)

patched = instructor.from_openai(CLIENT, mode=instructor.Mode.JSON_SCHEMA)
check("create", patched.chat.completions.create(response_model=Person, **ASKED))
parts = list(patched.chat.completions.create_partial(response_model=Person, **ASKED))
equal("more than one part", len(parts) > 1, True)
Person.model_validate(parts[-1].model_dump())

calling = instructor.from_openai(CLIENT, mode=instructor.Mode.TOOLS)
check("create in mode TOOLS", calling.chat.completions.create(response_model=Person, **ASKED))
report("text, usage", "a Person, in parts", parsed="`create`, `create_partial` in mode `JSON_SCHEMA`",
       called="`create` in mode `TOOLS`")
