"""Random conversations and random small templates, from a seed."""

WORDS = [
    "Hi", "hello World", "é", "日本語", "  spaced  ", "a\nb\n\nc", "\n", "x" * 30, "<|im_end|>", "<s>", "</s>",
    "[INST]", "<think>\nwhy\n</think>\n\nso", "</think>", "{{ x }}", "{% if %}", "it's \"q\" \\ <b>&amp;</b>",
    "None", "1.5", "-7", "\u00a0\u2003", "😀 ok", "tab\there", "\r\n", "/no_think", "Ünï STRASSE", "a-b c-d",
    "%s 100%", "0"
]
ROLES = ["user", "assistant", "system", "tool", "developer"]


def text(r):
    if r.random() < 0.1:
        return ""
    return r.choice(["", " ", "\n"]).join(r.choice(WORDS) for _ in range(r.randint(1, 3)))


def number(r):
    return r.choice([0, 1, -1, 7, 2**53, 18446744073709551615, 1.0, 0.1, -2.5, 1e22, 1e-7, 100000.0, 3.0e16])


def data(r, depth=0):
    """A JSON value."""
    pick = r.random()
    if depth < 3 and pick < 0.2:
        return [data(r, depth + 1) for _ in range(r.randint(0, 3))]
    if depth < 3 and pick < 0.4:
        return {
            r.choice(["a", "b", "Key", "items", "é", "type", "x y"]): data(r, depth + 1)
            for _ in range(r.randint(0, 3))
        }
    return r.choice([text(r), text(r), number(r), True, False, None])


def schema(r, depth=0):
    """A nested JSON schema, as tools have."""
    kind = r.choice(["string", "integer", "number", "boolean"] + ["object", "array"] * (depth < 2))
    result = {"type": r.choice([kind, kind, [kind, "null"]])}
    if r.random() < 0.5:
        result["description"] = text(r)
    if r.random() < 0.2:
        result["enum"] = [text(r) for _ in range(2)]
    if r.random() < 0.1:
        result["default"] = data(r)
    if kind == "array":
        result["items"] = schema(r, depth + 1)
    if kind == "object":
        result["properties"] = {
            name: schema(r, depth + 1)
            for name in r.sample(["city", "n", "unit", "Zone", "when"], r.randint(0, 3))
        }
        result["required"] = r.sample(list(result["properties"]), r.randint(0, len(result["properties"])))
    return result


def tool(r):
    function = {
        "name": r.choice(["get_weather", "add", "f"]),
        "description": text(r),
        "parameters": {
            **schema(r), "type": "object",
            "properties": {
                "city": schema(r),
                "n": schema(r, 1)
            },
            "required": ["city"]
        }
    }
    if r.random() < 0.2:
        function["return"] = {"type": "string"}
    return {"type": "function", "function": function}


def call(r):
    import json
    arguments = data(r) if r.random() < 0.1 else {
        name: data(r) for name in r.sample(["city", "n", "flag", "l"], r.randint(0, 4))
    }
    function = {
        "name": r.choice(["get_weather", "add"]),
        "arguments": arguments if r.random() < 0.7 else json.dumps(arguments)
    }
    return {"id": r.choice(["abcdef123", "call00001", "c"]), "type": "function", "function": function}


def content(r):
    pick = r.random()
    if pick < 0.08:
        return None
    if pick < 0.16:
        return [{"type": "text", "text": text(r)} for _ in range(r.randint(0, 3))]
    return text(r)


def message(r, role):
    result = {"role": role, "content": content(r)}
    if role == "assistant" and r.random() < 0.3:
        result["tool_calls"] = [call(r) for _ in range(r.choice([1, 1, 1, 2]))]
    if role == "assistant" and r.random() < 0.2:
        result[r.choice(["reasoning_content", "thinking", "reasoning"])] = text(r)
    if role == "tool":
        result["tool_call_id"] = r.choice(["abcdef123", "call00001"])
        if r.random() < 0.5:
            result["name"] = "get_weather"
    if r.random() < 0.05:
        result[r.choice(["name", "prefix", "extra"])] = data(r)
    if r.random() < 0.03:
        del result["content"]
    return result


def conversation(r):
    """Returns the variables of a rendering. Most have the order of roles that templates require."""
    if r.random() < 0.3:
        roles = [r.choice(ROLES) for _ in range(r.randint(0, 6))]
    else:
        roles = ["system"] * (r.random() < 0.4)
        for _ in range(r.randint(1, 4)):
            roles += ["user", "assistant"] if r.random() < 0.7 else ["user", "assistant", "tool", "assistant"]
        roles = roles[:len(roles) - (r.random() < 0.6)]
    variables = {
        "messages": [message(r, role) for role in roles],
        "tools": None,
        "documents": None,
        "add_generation_prompt": r.random() < 0.6,
        "bos_token": "<s>",
        "eos_token": "</s>"
    }
    if r.random() < 0.3:
        variables["tools"] = [tool(r) for _ in range(r.randint(0, 2))]
    if r.random() < 0.1:
        variables["documents"] = [{"title": text(r), "text": text(r), "doc_id": number(r)} for _ in range(2)]
    for name, values in {
            "enable_thinking": [True, False],
            "thinking": [True, False],
            "date_string": ["1 Jan 2025"],
            "tools_in_user_message": [True, False],
            "custom_tools": [None],
            "reasoning_effort": ["low", "high", 3],
            "xml_tools": [None],
            "builtin_tools": [["code_interpreter"]]
    }.items():
        if r.random() < 0.15:
            variables[name] = r.choice(values)
    return variables


class Templates:
    """Small random templates: expressions in nested statements. Most expressions have the required types."""
    def __init__(self, r):
        self.r = r
        self.names = []  # what `set` and `for` have defined so far

    # Productions, separated by ";" and newlines. {s} is a text, {i} an int, {n} a number, {l} a list, {d} a
    # dict, {b} a condition, {x} anything and {k} a key; see hole() for the others.
    TEXT = """{s}|trim ~ {s}; {s} + {s}; {s} ~ {x}; {s}|upper; {s}|lower; {s}|title; {s}|capitalize
        {s}|replace({q}, {q}); {x}|string; {x}|tojson; {x}|tojson(indent={w}); {d}|tojson(sort_keys=true)
        {x}|tojson(ensure_ascii=true); {l}|join({q}); {s}.strip(); {s}.strip({q}); {s}.lstrip({q})
        {s}.rstrip(); {s}.split({q})[0]; {s}.split()|join('|'); {s}[{i}:]; {s}[:{i}]; {s}[::-1]; {s}[{i}]
        {s}|indent({w}, {b}, {b}); {s}|e; {s}.upper(); {s}.title(); {s}.capitalize()
        {s}.replace({q}, {q}, {w}); {s}.partition({q})[2]; {s}.removeprefix({q})
        '{{}}-{{}}'.format({x}, {n}); '{{0:>{w}}}|{{0!r:<5}}'.format({s}); '{{:.2f}}'.format({n})
        '{{a:05d}}{{b}}'.format(a={i}, b={x}); '{{:,}}'.format({i})
        '{{:+.1e}} {{:g}}'.format({n}, {n})
        '{{:_^9}}'.format({s}); '%+.3g|%-6.1f|%x' % ({n}, {n}, {i})
        '%s/%d'|format({x}, {i})
        '%5.1f%%' % {n}; '%-8s|' % {q}; '%r' % ({x},); '%05d' % {i}; ({s} if {b} else {s}); {s} * {w}
        {x}|default({s}); {s} or {s}; {s}|first; {s}|last; {l}|first|string; {l}|map('string')|join
        ({s}|safe) ~ {s}; ({s}|safe) + {s}; m({x}); {s}|replace({q}, {q}, {w}); {s}.join({l}|map('string'))
        {s}.splitlines()|join('/'); {s}|safe|string; {s}|string|trim({q})"""
    INT = """{s}|length; {l}|length; {d}|length; {s}.find({q}); {s}.count({q}); {i} + {i}; {i} - {i}
        {i} * {w}; {i} // {p}; {i} % {p}; {s}|int; {n}|int; {i}|abs; -{i}; {l}|count; {n}|round|int
        {w} ** 2; {l}|map('string')|map('length')|sum; {s}.index({q}); ({i} if {b} else {i})
        {l}|list|length; {s}.rfind({q}); {s}|int(7); {x}|int(base=16); {b}|int"""
    NUMBER = """{i}; {i} / {p}; {n} + {n}; {n} * {i}; {s}|float; {n}|round({w}); {n}|round({w}, 'floor')
        {n}|abs; {n} // {p}; {n} % {p}; {n}|float; {n} ** 2; [{n}, {i}]|max; [{i}, {n}]|min"""
    LIST = """[{x}, {x}]; [{s}, {s}, {s}]; [{i}, {n}]; {l} + {l}; {l}[{i}:]; {l}[::-1]; {l}|list
        {l}|reverse|list; {d}|items|list; {d}|dictsort; {d}|dictsort(true, 'value'); {d}.items()|list
        {d}.keys()|list; {d}.values()|list; {s}.split({q}); {s}|list; {l}|unique|list
        {l}|map('string')|list; {l}|select|list; {l}|reject('none')|list; {l}|select('string')|list
        {l}|map('string')|sort; {l}|map('string')|sort(reverse=true); range({w})|list
        messages|map(attribute='role')|list; messages|selectattr('content', 'string')|list
        messages|rejectattr('tool_calls')|list; messages|map(attribute='content', default={x})|list
        messages[{i}:]; messages[:-1]
        messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|list; ({l}, {x})|list
        {s}.splitlines(); {s}.splitlines(true); {s}.rsplit({q}, {w}); {l} * {w}
        messages|sort(attribute='role'); {s}.partition({q}); messages|map(attribute='role')|unique|list
        tools|map('length')|list; range({w}, {i}); range({i}, {w}, -1)|list; {l}|map('default', {x})|list
        messages|selectattr('role', 'in', ['user', 'tool'])|list; {l}|list|first|list
        [{l}, {l}]|sum(start=[])"""
    DICT = """{{'a': {x}, 'b': {x}}}; {{{k}: {x}, {k}: {x}}}; messages[{i}]; messages|last; messages|first
        dict(a={x}, b={x}); dict([[{s}|string, {x}], ['b', {x}]]); {{}}; tools[0].function
        ({d} if {b} else {d})
        {d}.copy(); dict({d}, z={x}); {{1: {x}, 1.5: {x}, true: {x}}}
        messages[{i}].tool_calls[0].function.arguments"""
    BOOL = """{s} == {s}; {i} > {i}; {n} <= {n}; {x} is none; {x} is defined; {x} is string; {x} is mapping
        {x} is iterable; {x} is sequence; {x} is number; {x} is boolean; {x} is true; {x} is integer
        {x} is float; {q} in {s}; {s} in {l}; {k} in {d}; not {b}; {b} and {b}; {b} or {b}; {x} == {x}
        {x} != {x}; {s}.startswith({q}); {s}.endswith({q}); {s} is lower; {s} is upper; {i} is odd
        {i} is even; {i} is divisibleby {p}; 0 < {i} < 5; {x} not in {l}; {x} is callable
        {x} is sameas none; {x} is sameas true; {s}.isdigit(); {s}.isalpha(); {s}.isspace(); {s}.isalnum()
        {i} is gt 1; {x} is in {l}; {s} is eq {s}; {x}; true; false; add_generation_prompt; {s}.isdecimal()
        {x} is undefined"""
    ANY = """{s}; {s}; {i}; {n}; {l}; {d}; {b}; none; undefined_name; {d}.{a}; {d}[{k}]; {d}.get({k})
        {d}.get({k}, {x}); {l}[{i}]; {l}|first; {l}|last; ({x} if {b}); {x} or {x}; {x} and {x}; {l}|min
        {l}|max; {l}|sum; {v}; {v}; {v}.{a}; loop.index; loop.previtem; loop.last; tools; documents; ns.a
        {d}|map('upper')|list; ({x}, {x}); {x}|default({x}, true); {l}|map('int')|first; namespace(a={x}).a
        messages|map(attribute={k}); {l}|select('gt', 1)|first; {x}|items|list; {x}|length; {x}|list
        {x}|first; m.name; {s}.split({q}, 1)[1]; {x}|sort; {x}|join({q}); {x}|string"""
    KINDS = {"s": TEXT, "i": INT, "n": NUMBER, "l": LIST, "d": DICT, "b": BOOL, "x": ANY}
    PRODUCTIONS = {
        kind: [p.strip() for line in lines.splitlines() for p in line.split(";")]
        for kind, lines in KINDS.items()
    }

    def quote(self, value):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace(
            "\r", "\\r") + "'"

    def leaf(self, kind):
        r = self.r
        simple = {
            "s":
                lambda: r.choice([
                    self.quote(text(r)),
                    self.quote(r.choice(WORDS)), "messages[0].content", "(messages|last).role"
                ] + ["x"] * ("x" in self.names)),
            "i":
                lambda: r.choice(["0", "1", "2", "-1", "3", "10"]),
            "n":
                lambda: r.choice(["1.5", "-2.25", "0.1", "3", "1e3", "12345.678", "1e16", "0.00001"]),
            "l":
                lambda: r.choice([
                    "messages", "[1, 2, 3]", "['b', 'A', 'c', 'a']", "[]", "[none, 1, 'x']", "tools or []",
                    "[true, 0, 2.5]"
                ]),
            "d":
                lambda: r.choice(
                    ["messages[0]", "{'a': 1, 'B': 'x', 'items': none}", "{}", "(tools or [{}])[0]"]),
            "b":
                lambda: r.choice(["true", "false", "tools", "add_generation_prompt", "messages"]),
            "x":
                lambda: r.choice([
                    "none", "1", "'a'", "messages", "undefined_name", "true", "2.5", "[1, 'a']", "{'a': 1}",
                    "()"
                ] + self.names * 2)
        }
        return simple[kind]()

    def expression(self, kind, depth=0):
        r = self.r
        if r.random() < 0.01:
            kind = "x"  # now and then the wrong type
        if depth >= 3 or r.random() < 0.3:
            return self.leaf(kind)
        out, pattern, at = [], r.choice(self.PRODUCTIONS[kind]), 0
        while at < len(pattern):
            if pattern.startswith(("{{", "}}"), at):
                out.append(pattern[at])
                at += 2
            elif pattern[at] == "{":
                out.append(self.hole(pattern[at + 1], depth))
                at += 3
            else:
                out.append(pattern[at])
                at += 1
        return "".join(out) if depth == 0 else "(" + "".join(out) + ")"

    def hole(self, kind, depth):
        r = self.r
        if kind == "q":
            return self.quote(r.choice([" ", "a", "\n", "-", "</think>", ", ", "", "b", "<", "x"]))
        if kind == "w":
            return r.choice(["0", "1", "2", "4", "9", "20"])
        if kind == "p":
            return r.choice(["1", "2", "3", "7", "12"])
        if kind == "k":
            return r.choice(["'role'", "'content'", "'a'", "'b'", "'items'", "'zz'", "1"])
        if kind == "a":
            return r.choice(["role", "content", "a", "b", "items", "zz"])
        if kind == "v":
            return r.choice(self.names) if self.names else "messages"
        return self.expression(kind, depth + 1)

    def literal_text(self):
        return self.r.choice(
            ["", " ", "\n", "  \n", "text", " a ", "\n\n", "é\n", "- ", "    ", "\t", "{ not a tag }"])

    def tag(self, inside):
        r = self.r
        return "{%" + r.choice(["", "", "-", "-", "+"]) + " " + inside + " " + r.choice(["", "", "-"]) + "%}"

    def name(self):
        name = self.r.choice("xyz")
        if name not in self.names:
            self.names.append(name)
        return name

    def block(self, depth=0, loops=0):
        return "".join(self.literal_text() + self.statement(depth, loops)
                       for _ in range(self.r.randint(1, 3))) + self.literal_text()

    def statement(self, depth, loops):
        r, e, t = self.r, self.expression, self.tag
        pick = r.random() if depth < 3 else r.random() * 0.45
        if pick < 0.35:
            return "{{" + r.choice(["", "-"]) + " " + e(r.choice("sssxxlnidb")) + " " + r.choice(["", "-"
                                                                                                 ]) + "}}"
        if pick < 0.43:
            return t(f"set {self.name()} = {e(r.choice('sxld'))}")
        if pick < 0.45:
            return r.choice(["{# note #}", "{#- note -#}", t(f"set ns.a = {e('x')}")])
        if pick < 0.6:
            otherwise = t("elif " + e("b")) + self.block(depth + 1, loops) + t("else") + self.block(
                depth + 1, loops) if r.random() < 0.5 else ""
            return t("if " + e("b")) + self.block(depth + 1, loops) + otherwise + t("endif")
        if pick < 0.8:
            return self.loop(depth)
        if pick < 0.84:
            return t(f"set {self.name()}{r.choice(['', ' | upper', ' | trim | title'])}") + self.block(
                depth + 1) + t("endset")
        if pick < 0.87:
            return t("filter " +
                     r.choice(["upper", "trim", "indent(2)", "replace('a', 'b')", "e", "title|trim"])
                    ) + self.block(depth + 1) + t("endfilter")
        if pick < 0.9:
            return t(f"with {self.name()} = {e('x')}, y = {e('s')}") + self.block(depth + 1,
                                                                                  loops) + t("endwith")
        if pick < 0.94:
            return (t(f"macro k(a, b={e('x')})") + "{{ a }}" + self.block(depth + 1) + "{{ b }}" +
                    t("endmacro") + "{{ k(" + e("x") + r.choice(["", ", b=" + e("x"), ", " + e("s")]) +
                    ") }}")
        if pick < 0.97:
            return t(f"call{r.choice(['', '(u)'])} wrap({e('x')})") + self.block(depth + 1) + t("endcall")
        if pick < 0.98:
            return t("generation") + self.block(depth + 1) + t("endgeneration")
        if loops:
            return t(f"if {e('b')}") + t(r.choice(["break", "continue"])) + t("endif")
        return t("raw") + "{{ x }} {% y %}" + t("endraw")

    def loop(self, depth):
        r, e, t = self.r, self.expression, self.tag
        target = r.choice([self.name(), self.name(), "k, v"])
        walked = f"({e('d')})" + r.choice([".items()", "|items", "|dictsort"
                                          ]) if target == "k, v" else r.choice([e("l"), "messages",
                                                                                e("x")])
        condition = f" if {e('b')}" if r.random() < 0.25 else ""
        before = r.choice([
            "", "{{ loop.index }}", "{{ loop.first }}/{{ loop.last }}",
            "{{ loop.length }}{{ loop.revindex0 }}", "{{ loop.changed(" + e("x") + ") }}",
            "{{ loop.cycle('a', 'b') }}", "{{ loop.nextitem }}"
        ])
        otherwise = t("else") + self.block(depth + 1) if r.random() < 0.2 else ""
        body = before + self.block(depth + 1, 1) + otherwise
        return t(f"for {target} in {walked}{condition}") + body + t("endfor")

    FRAME = (
        "{% set ns = namespace(a=0) %}"
        "{% macro m(a) %}<{{ a }}>{% endmacro %}"
        "{% macro wrap(a) %}[{{ caller(a) if varargs or a is string else caller(1) }}]{% endmacro %}\n"
    )
    RECURSION = (
        "{% for x in messages recursive %}{{ loop.depth }}{{ x.role if x is mapping else x }}"
        "{% if x is mapping and x.tool_calls is iterable %}({{ loop(x.tool_calls) }})"
        "{% elif x is mapping and x.function %}({{ loop([1, 2]) }}){% endif %}"
        "{% else %}none{% endfor %}")

    def template(self):
        self.names = []
        if self.r.random() < 0.02:
            return self.FRAME + self.RECURSION + self.block()
        return self.FRAME + self.block()
