"""Random wrong bodies for all routes of the API: valid requests, changed at random places of their tree, then
perhaps as bytes. Everything depends on the random generator that is passed in."""

import json

DEEP = 20_000
TOOL = {"type": "object",
        "properties": {"tier": {"enum": ["a", "b"]}, "n": {"type": "integer", "minimum": 3}},
        "required": ["tier"]}
USER = {"role": "user", "content": "Hi"}
CALL = {"role": "assistant", "content": None, "tool_calls": [
    {"id": "c1", "type": "function", "function": {"name": "read", "arguments": '{"tier":"a"}'}}]}
SHORT = {"model": "demo", "max_tokens": 2}

# Valid bodies by route. Each has many fields, so that a change meets many of them.
CHATS = [
    {**SHORT, "messages": [{"role": "system", "content": "Be brief."}, USER], "temperature": 0.5,
     "top_p": 0.9, "stop": ["x", "yz"], "seed": 7, "n": 2, "logprobs": True, "top_logprobs": 2,
     "stream": True,
     "stream_options": {"include_usage": True}, "logit_bias": {"5": 1}},
    {**SHORT, "messages": [USER, CALL, {"role": "tool", "tool_call_id": "c1", "content": "full"}],
     "tools": [{"type": "function", "function": {"name": "read", "parameters": TOOL, "strict": True}}],
     "tool_choice": {"type": "function", "function": {"name": "read"}}, "parallel_tool_calls": False},
    {**SHORT, "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                           {"role": "assistant", "content": "I"}], "continue_final_message": True,
     "chat_template_kwargs": {"enable_thinking": False}, "documents": [{"title": "t", "text": "u"}],
     "response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True,
     "schema": TOOL}}},
]
COMPLETIONS = [
    {**SHORT, "prompt": ["One", "Two"], "echo": True, "logprobs": 2, "best_of": 2, "return_token_ids": True,
     "structured_outputs": {"regex": "a[bc]{2,5}d?"}, "cache_salt": "s", "min_tokens": 1},
    {**SHORT, "prompt": [[5, 6, 7], [8]], "stop_token_ids": [3], "prompt_logprobs": 1, "ignore_eos": True,
     "truncate_prompt_tokens": 5, "guided_choice": ["yes", "no"]},
    {**SHORT, "prompt": "x", "stream": True, "grammar": 'root ::= "a" | "b" root', "request_id": "r1"},
]
ITEMS = [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
         {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "so"}]},
         {"type": "function_call", "call_id": "c1", "name": "read", "arguments": "{}"},
         {"type": "function_call_output", "call_id": "c1", "output": "full"}]
RESPONSES = [
    {"model": "demo", "max_output_tokens": 2, "input": ITEMS, "instructions": "Be brief.", "stream": True,
     "tools": [{"type": "function", "name": "read", "parameters": TOOL}, {"type": "web_search"}],
     "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [
         {"type": "function", "name": "read"}]},
     "reasoning": {"effort": "low"}, "include": ["message.output_text.logprobs"], "top_logprobs": 2},
    {"model": "demo", "max_output_tokens": 2, "input": "Hi", "previous_response_id": "resp_1",
     "metadata": {"a": "b"},
     "text": {"format": {"type": "json_schema", "name": "a", "schema": TOOL}, "verbosity": "low"}},
    {"model": "demo", "max_output_tokens": 2, "store": True,
     "input": [USER, {"type": "item_reference", "id": "msg_1_0"}]},
]
MESSAGES = [
    {**SHORT, "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
     "messages": [USER, {"role": "assistant", "content": [
         {"type": "thinking", "thinking": "so", "signature": ""}, {"type": "text", "text": "I look."},
         {"type": "tool_use", "id": "c1", "name": "read", "input": {"tier": "a"}}]},
                  {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "is_error": True,
                                                "content": [{"type": "text", "text": "full"}]}]}],
     "tools": [{"name": "read", "input_schema": TOOL}, {"type": "bash_1", "name": "bash"}],
     "tool_choice": {"type": "any", "disable_parallel_tool_use": True}, "stop_sequences": ["x"],
     "stream": True},
    {**SHORT, "messages": [USER, {"role": "assistant", "content": "I"}], "system": "x", "top_k": 3,
     "thinking": {"type": "enabled", "budget_tokens": 5},
     "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": TOOL}}},
]
TOKENS = [{"prompt": "Hi", "return_token_strs": True}, {"content": "Hi", "with_pieces": True},
          {"messages": [USER], "tools": [{"type": "function", "function": {"name": "read"}}]}]

BODIES = {
    "/v1/chat/completions": CHATS, "/v1/completions": COMPLETIONS, "/v1/responses": RESPONSES,
    "/v1/responses/input_tokens": RESPONSES, "/v1/messages": MESSAGES, "/v1/messages/count_tokens": MESSAGES,
    "/v1/chat/completions/render": CHATS, "/v1/completions/render": COMPLETIONS,
    "/v1/tokenize": TOKENS, "/v1/detokenize": [{"tokens": [1, 2, 3], "model": "demo"}],
    "/v1/apply-template": [{"messages": [USER], "add_generation_prompt": True}],
}

# JSON texts that a value is replaced by, also such that are none.
RAW = ["null", "true", "false", "0", "-1", "1", "1.0", "0.5", "-0.0", "2147483648", "9007199254740993",
       "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1e308", "1e999", "-1e999",
       "NaN",
       "Infinity", "1" * 400, "0.1e-400", "01", "+1", "0x10", "'a'", '""', '"\\u0000"', '"\\ud800"',
       '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"<|im_end|>"', '"{{ 1/0 }}"', '"../../etc"', '"%s%n"',
       '"\\x"',
       '"' + "a" * 5000 + '"', '"' + "\\n" * 2000 + '"', "[]", "{}", "[[]]", "[null]", "[{}]", '{"":""}',
       "[1,2,]",
       '{"a":1,"a":2}', "{a:1}", "/**/1", "[" + "0," * 3000 + "0]", '{"type":"text"}', '{"type":null}',
       '{"role":"user"}', '{"$ref":"#"}', '{"allOf":[{"$ref":"#"}]}', '{"pattern":"(a*)*$"}', '{"enum":[]}',
       '{"type":"object","properties":{"a":{"$ref":"#"}}}', '{"minLength":100000000}',
       "[" * DEEP, "[" * 40 + "]" * 40, '{"a":' * 40 + "1" + "}" * 40, '{"a":' * DEEP, "[" * 100 + "]" * 100]
BYTES = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xe2\x82", b"\0", b"\x1f",
         b'"',
         b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\xef\xbb\xbf", b"\r\n", b"e", b"-"]


def nodes(tree, path=()):
    """Every path to a value of the tree."""
    found = [path]
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += nodes(value, (*path, key))
    return found


def change(random, tree, others, holes):
    """Changes one value of the tree, in place: another, none, twice, under another name, or a text of RAW."""
    path = random.choice(nodes(tree)[1:] or [()])
    if not path:
        return
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    kind = random.randrange(8)
    if kind == 0:
        del parent[path[-1]]
    elif kind == 1 and isinstance(parent, list):
        parent[path[-1]:path[-1]] = [parent[path[-1]]] * random.choice([1, 2, 50])
    elif kind == 2:
        other = random.choice(others)
        where = random.choice(nodes(other)[1:])
        for key in where:
            other = other[key]
        parent[path[-1]] = json.loads(json.dumps(other))
    elif kind == 3 and isinstance(parent, dict):
        parent[random.choice(["type", "role", "name", "id", "text", "content", "input", "", "a" * 300])] = \
            parent[path[-1]]
    else:
        parent[path[-1]] = f"@{len(holes)}@"
        holes.append(random.choice(RAW))


def spoil(random, body):
    """Changes bytes of the body."""
    for _ in range(random.choice([1, 1, 2, 5])):
        at = random.randrange(len(body) + 1)
        kind = random.randrange(4)
        if kind == 0:
            body = body[:at]
        elif kind == 1:
            body = body[:at] + random.choice(BYTES) + body[at:]
        elif kind == 2:
            body = body[:at] + bytes([random.randrange(256)]) + body[at + 1:]
        else:
            end = random.randrange(at, len(body) + 1)
            body = body[:at] + body[end:]
    return body


def body(random, path, fields):
    """The bytes of a wrong body for the route. `fields` are names that the route knows."""
    tree = json.loads(json.dumps(random.choice(BODIES[path])))
    holes = []
    for _ in range(random.choice([0, 1, 1, 1, 2, 3, 6])):
        if random.random() < 0.4 and fields:
            tree[random.choice(fields)] = f"@{len(holes)}@"
            holes.append(random.choice(RAW))
        else:
            change(random, tree, random.choice(list(BODIES.values())), holes)
    text = json.dumps(tree)
    for number, raw in enumerate(holes):
        text = text.replace(f'"@{number}@"', raw)
    data = text.encode()
    return spoil(random, data) if random.random() < 0.3 else data
