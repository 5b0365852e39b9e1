"""OpenAILike of LlamaIndex."""

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from case import MAX_TOKENS, NAME, QUESTION, TEXT, URL, check_usage, equal, report
from person import ASK, Person, check, check_call
from person import MAX_TOKENS as PERSON_TOKENS

MODEL = OpenAILike(model=NAME, api_base=f"{URL}/v1", api_key="any", is_chat_model=True, context_window=4096,
                   temperature=0, max_tokens=MAX_TOKENS, max_retries=0)
MESSAGES = [ChatMessage(role="user", content=QUESTION)]

whole = MODEL.chat(MESSAGES)
equal("plain", whole.message.content, TEXT)
check_usage("plain", whole.raw.usage.prompt_tokens, whole.raw.usage.completion_tokens)

parts = list(MODEL.stream_chat(MESSAGES, stream_options={"include_usage": True}))
equal("streamed", "".join(each.delta or "" for each in parts), TEXT)
equal("the last message of the stream", parts[-1].message.content, TEXT)
check_usage("streamed", parts[-1].raw.usage.prompt_tokens, parts[-1].raw.usage.completion_tokens)

structured = OpenAILike(model=NAME, api_base=f"{URL}/v1", api_key="any", is_chat_model=True,
                        context_window=4096, temperature=0, max_tokens=PERSON_TOKENS, max_retries=0,
                        should_use_structured_outputs=True).as_structured_llm(Person)
check("as_structured_llm", structured.chat([ChatMessage(role="user", content=ASK)]).raw)

caller = OpenAILike(model=NAME, api_base=f"{URL}/v1", api_key="any", is_chat_model=True, context_window=4096,
                    temperature=0, max_tokens=PERSON_TOKENS, max_retries=0, is_function_calling_model=True)
tool = FunctionTool.from_defaults(fn=Person, name="Person", description="A person.", fn_schema=Person)
for choice in ({"tool_required": True}, {"tool_choice": "Person"}):
    answer = caller.chat_with_tools([tool], user_msg=ASK, **choice)
    [call] = caller.get_tool_calls_from_response(answer)
    check_call(f"chat_with_tools, {choice}", call.tool_name, call.tool_kwargs)
report("text, usage", "text, usage", "usage of streams with `stream_options`",
       parsed="`as_structured_llm` with `should_use_structured_outputs`",
       called="`chat_with_tools`")
