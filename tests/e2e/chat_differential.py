#!/usr/bin/env python3
"""Compares the rendering of conversations, fitted to chat templates, with Jinja2 3.1.6.

  chat_differential.py --random N --seed S    renders N conversations, each with the next real template

Each conversation has content as text or in parts in every role, tools, and arguments as objects or as text.
For each render this checks that
  1. the fitted messages are a permitted form of the request's: content as it was, or its parts joined by
     newlines, or one part instead of a string, "" instead of null; arguments as an object or as JSON text; a
     system message in front of the next user message;
  2. the output is what Jinja2 renders from them;
  3. no part and no argument is shown as a printed Python or doubly escaped value where Jinja2 shows the text
     itself in another permitted form;
  4. every character that only the conversation has is marked as coming from it.

chat_differential_test.py runs a small number.
"""

import argparse
import itertools
import json
import random
import sys

from jinja_differential import NOW, SHARED, chat_templates, ours
from jinja_reference import Reference, tojson

LETTERS = "語話文字列表記号"  # no template has them
WORDS = ["a", "Hello", "1 + 1", "<b>", "{x}", "it's", '"q"', "\\", "é", "\n", "  "]


def templates():
    cases = sorted(path.read_text() for path in SHARED.glob("cases/*/*.jinja"))
    return chat_templates() + cases


def word(r):
    return LETTERS[r.randrange(8)] + "".join(r.choices(WORDS, k=r.randrange(3))) + LETTERS[r.randrange(8)]


def content(r):
    if r.random() < 0.5:
        return word(r)
    return [{"type": "text", "text": word(r)} for _ in range(r.choice([1, 1, 2, 3]))]


def value(r, depth=0):
    scalars = [None, True, 0, -7, 12345678901234567, 1.5, 512.0, 1e-7, 1e22, word(r), word(r), ""]
    if depth > 1 or r.random() < 0.6:
        return r.choice(scalars)
    if r.random() < 0.5:
        return [value(r, depth + 1) for _ in range(r.randrange(3))]
    return {f"k{i}{LETTERS[i]}": value(r, depth + 1) for i in range(r.randrange(3))}


def tool(r, name):
    properties = {f"p{i}": {"type": r.choice(["string", "integer"]), "description": word(r)}
                  for i in range(r.randrange(1, 4))}
    return {"type": "function", "function": {"name": name, "description": word(r), "parameters": {
        "type": "object", "properties": properties, "required": ["p0"]}}}


def conversation(r):
    messages, names = [], ["get_weather", "add"]
    if r.random() < 0.5:
        messages.append({"role": "system", "content": content(r)})
    with_tools = r.random() < 0.6
    for turn in range(r.choice([1, 1, 2, 3])):
        messages.append({"role": "user", "content": content(r)})
        if with_tools and r.random() < 0.7:
            arguments = {f"a{i}": value(r) for i in range(r.randrange(4))}
            if r.random() < 0.5:
                arguments = json.dumps(arguments, ensure_ascii=False)
            call = {"id": f"call{turn:05}", "type": "function",
                    "function": {"name": r.choice(names), "arguments": arguments}}
            messages.append({"role": "assistant", "content": r.choice([None, "", content(r)]),
                             "tool_calls": [call]})
            messages.append({"role": "tool", "tool_call_id": call["id"], "name": call["function"]["name"],
                             "content": content(r)})
        if turn or with_tools or r.random() < 0.5:
            messages.append({"role": "assistant", "content": content(r)})
    if messages[-1]["role"] == "assistant":
        messages.append({"role": "user", "content": content(r)})
    variables = {"messages": messages, "add_generation_prompt": r.random() < 0.8}
    if with_tools:
        variables["tools"] = [tool(r, name) for name in names]
    return variables


def flat(content):
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content or [])


def permitted(given, fitted):
    """What is wrong with the fitted messages, or None."""
    if [m["role"] for m in given] != [m["role"] for m in fitted]:
        return None if moved(given) == [(m["role"], flat(m["content"])) for m in fitted] else "roles"
    for before, after in zip(given, fitted):
        if flat(before["content"]) != flat(after["content"]):
            return f"content of {before['role']}"
        if isinstance(after["content"], list) and any(set(p) != {"type", "text"} for p in after["content"]):
            return "parts"
        for old, new in zip(before.get("tool_calls", []), after.get("tool_calls", [])):
            both = [old["function"]["arguments"], new["function"]["arguments"]]
            same = [json.loads(a) if isinstance(a, str) else a for a in both]
            if repr(same[0]) != repr(same[1]):
                return "arguments"
            if isinstance(both[0], dict) and isinstance(both[1], str) and tojson(both[0]) != both[1]:
                return "spelling of arguments"
    return None


def moved(messages):
    system, out = "", []
    for m in messages:
        if m["role"] == "system":
            system = flat(m["content"])
        elif m["role"] == "user" and system:
            out.append(("user", system + "\n\n" + flat(m["content"])))
            system = ""
        else:
            out.append((m["role"], flat(m["content"])))
    return out


def shown(output, messages):
    """How many texts and arguments of the messages the output shows as they are."""
    count = 0
    for m in messages:
        parts = [m["content"]] if isinstance(m["content"], str) else [p["text"] for p in m["content"] or []]
        count += sum(part.strip() in output for part in parts if part)
        for call in m.get("tool_calls", []):
            arguments = call["function"]["arguments"]
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
            count += sum(tojson(v) in output or (isinstance(v, str) and v.strip() in output)
                         for v in arguments.values())
    return count


def other_forms(messages):
    """The messages with all content as text, and as parts; and all arguments as objects, and as text."""
    for as_parts, as_text in itertools.product([False, True], repeat=2):
        out = json.loads(json.dumps(messages))
        for m in out:
            m["content"] = flat(m["content"])
            if as_parts:
                m["content"] = [{"type": "text", "text": m["content"]}]
            for call in m.get("tool_calls", []):
                function = call["function"]
                if as_text and not isinstance(function["arguments"], str):
                    function["arguments"] = tojson(function["arguments"])
                if not as_text and isinstance(function["arguments"], str):
                    function["arguments"] = json.loads(function["arguments"])
        yield out


def fault(reference, request, answer):
    variables = {"bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None,
                 **request["variables"]}
    given = variables["messages"]
    if "error" in answer:
        for form in [given, *other_forms(given)]:
            if "output" in reference.render(request["chat"], {**variables, "messages": form}):
                return "refused, but Jinja2 renders a permitted form"
        return None
    output, wrong = answer["output"], []
    for fitted in map(json.loads, answer["fitted"]):
        wrong.append(permitted(given, fitted))
        rendered = reference.render(request["chat"], {**variables, "messages": fitted})
        if wrong[-1] is None and rendered.get("output") != output:
            wrong[-1] = f"Jinja2: {rendered}"
    if all(wrong):
        return wrong[0]
    count = shown(output, given)
    for form in other_forms(given):
        best = reference.render(request["chat"], {**variables, "messages": form}).get("output")
        if best is not None and shown(best, given) > count:
            return f"shows {count} texts, Jinja2 {shown(best, given)} in another form: {best}"
    text, unmarked, at = output.encode(), b"", 0
    for begin, end in answer["input"]:
        unmarked += text[at:begin]
        at = end
    unmarked += text[at:]
    if any(letter.encode() in unmarked for letter in LETTERS):
        return "text of the conversation is not marked"
    return None


def compare(count, seed):
    """Returns the number of renders, of refusals, and the faults as (request, answer, what is wrong)."""
    r, reference, chats = random.Random(seed), Reference(NOW), templates()
    requests = [{"chat": chats[i % len(chats)], "variables": conversation(r), "now": NOW}
                for i in range(count)]
    rendered = refused = 0
    faults = []
    for request, answer in zip(requests, ours(requests)):
        wrong = fault(reference, request, answer)
        if wrong:
            faults.append((request, answer, wrong))
        elif "error" in answer:
            refused += 1
        else:
            rendered += 1
    return rendered, refused, faults


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=5, help="faults to print")
    arguments = parser.parse_args()
    rendered, refused, faults = compare(arguments.random, arguments.seed)
    for request, answer, wrong in faults[:arguments.show]:
        print(json.dumps({"wrong": wrong, "template": request["chat"][:200],
                          "messages": request["variables"]["messages"], "ours": answer},
                         ensure_ascii=False))
    print(f"{rendered} rendered as Jinja2 does, {refused} refused on both sides, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
