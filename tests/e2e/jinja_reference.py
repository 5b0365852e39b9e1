"""Jinja2 in the environment that transformers gives chat templates: the reference for our templates."""

import datetime
import functools
import json

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value,
                      ensure_ascii=ensure_ascii,
                      indent=indent,
                      separators=separators,
                      sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


class Reference:
    """Renders with a clock that is always at `now`, an ISO time."""
    def __init__(self, now):
        self.environment = ImmutableSandboxedEnvironment(trim_blocks=True,
                                                         lstrip_blocks=True,
                                                         extensions=[loopcontrols, Generation])
        self.environment.filters["tojson"] = tojson
        self.environment.globals["raise_exception"] = raise_exception
        self.environment.globals["strftime_now"] = datetime.datetime.fromisoformat(now).strftime
        self.compile = functools.lru_cache(maxsize=64)(self.environment.from_string)

    def render(self, template, variables):
        """{"output": text}, or {"raises": what the reference raises}; ours must then raise too."""
        try:
            return {"output": self.compile(template).render(**variables)}
        except Exception as error:
            return {"raises": f"{type(error).__name__}: {error}"}
