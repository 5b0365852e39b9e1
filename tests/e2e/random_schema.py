"""Random JSON Schemas of the subset that a constraint carries out whole."""

PATTERNS = ["^[a-z]{1,8}$", "^(yes|no)$", "^\\d{3}-\\d{4}$", "b+", "^[^\"\\\\]{2,5}$",
            "^[A-Z][a-z]*( [a-z]+){0,2}$"]
FORMATS = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"]
UNSUPPORTED = {
    "not": {"type": "null"}, "if": {"minimum": 3}, "uniqueItems": True, "contains": {"type": "null"},
    "minProperties": 1, "maxProperties": 9, "patternProperties": {"^x": True},
    "propertyNames": {"maxLength": 9},
    "dependentRequired": {"a": ["b"]}, "unevaluatedProperties": False, "$dynamicRef": "#x"}
VALUES = ["red", "green \"x\"", "ä\n", 5, -2.5, True, None]


def string(rng):
    kind = rng.randrange(5)
    if kind == 0:
        low = rng.randrange(4)
        return {"type": "string", "minLength": low, "maxLength": low + rng.randrange(60)}
    if kind == 1:
        return {"type": "string", "pattern": rng.choice(PATTERNS)}
    if kind == 2:
        return {"type": "string", "format": rng.choice(FORMATS)}
    if kind == 3:
        return {"type": "string", "pattern": "^[a-f0-9 ]+$", "minLength": rng.randrange(3),
                "maxLength": 3 + rng.randrange(9)}
    return {"type": "string", "maxLength": 12}


def number(rng):
    schema = {"type": rng.choice(["integer", "number"])}
    if rng.random() < 0.7:
        low = rng.randrange(-1000, 1000) / rng.choice([1, 1, 4, 10])
        schema[rng.choice(["minimum", "exclusiveMinimum"])] = low
        if rng.random() < 0.7:
            schema[rng.choice(["maximum", "exclusiveMaximum"])] = low + rng.randrange(2, 500)
    elif rng.random() < 0.5:
        schema["multipleOf"] = rng.choice([1, 2, 7, 0.5, 0.25])
    return schema


def array(rng, depth, names):
    if rng.random() < 0.2:
        return {"type": "array", "prefixItems": [schema(rng, depth - 1, names) for _ in range(2)],
                "items": False, "minItems": rng.randrange(3)}
    low = rng.randrange(3)
    return {"type": "array", "items": schema(rng, depth - 1, names), "minItems": low,
            "maxItems": low + rng.randrange(3)}


def an_object(rng, depth, names):
    properties = {
        rng.choice(["a", "ab", "name", "x y", "ö", "\"q\"", f"p{i}"]): schema(rng, depth - 1, names)
        for i in range(rng.randrange(5))}
    result = {"type": "object", "properties": properties,
              "required": [name for name in properties if rng.random() < 0.6]}
    kind = rng.randrange(4)
    if kind > 0:
        result["additionalProperties"] = False if kind < 3 else schema(rng, 0, names)
    return result


def schema(rng, depth, names=()):
    if depth <= 0:
        return rng.choice([string, number, lambda r: {"enum": r.sample(VALUES, 3)},
                           lambda r: {"type": "boolean"}, lambda r: {"const": r.choice(VALUES)},
                           lambda r: {"type": ["null", "integer"]}])(rng)
    kind = rng.randrange(6)
    if kind == 0 and names:
        return {"$ref": f"#/$defs/{rng.choice(names)}"}
    if kind == 1:
        return {"anyOf": [schema(rng, depth - 1, names), schema(rng, 0, names)]}
    if kind == 2:
        return array(rng, depth, names)
    if kind == 3 and rng.random() < 0.5:
        return {"allOf": [schema(rng, depth - 1, names)]}
    if kind == 3:
        return {"type": ["string", "array", "null"], "maxLength": 9, "items": schema(rng, 0), "maxItems": 3}
    return an_object(rng, depth, names)


def root(rng):
    """An object with definitions. One of them refers to itself, below an array that may be empty."""
    whole = an_object(rng, 3, ("leaf", "tree"))
    whole["$defs"] = {
        "leaf": schema(rng, 0),
        "tree": {
            "type": "object",
            "properties": {"v": schema(rng, 0), "of": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
            "required": ["v"], "additionalProperties": False}}
    return whole



def places(schema, place="#"):
    """Yields each schema within a schema, with its place as messages write it."""
    yield place, schema
    for name, one in schema.get("properties", {}).items():
        yield from places(one, f"{place}/properties/{name}")
    for keyword in ("anyOf", "prefixItems", "allOf"):
        for i, one in enumerate(schema.get(keyword, [])):
            yield from places(one, f"{place}/{keyword}/{i}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from places(schema[keyword], f"{place}/{keyword}")


def unsupported(rng):
    """A schema with a keyword that no grammar carries out, the keyword, and its place."""
    whole = root(rng)
    place, one = rng.choice(list(places(whole)))
    keyword = rng.choice(list(UNSUPPORTED))
    one[keyword] = UNSUPPORTED[keyword]
    return whole, keyword, place
