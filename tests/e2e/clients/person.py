"""What the scripts of this folder ask for as a structured output, and as arguments of a call."""

import typing

import pydantic

from case import equal

ASK = "Describe a person."
MAX_TOKENS = 400


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")  # otherwise the demo model adds properties forever
    name: str = pydantic.Field(max_length=8)
    age: int = pydantic.Field(ge=0, le=150)
    tags: list[typing.Literal["new", "old"]] = pydantic.Field(max_length=2)


def check(what, found):
    """Ends the script with exit code 1 unless the library has made a Person."""
    equal(f"type, {what}", type(found).__name__, "Person")
    Person.model_validate(found.model_dump())


def check_call(what, name, arguments):
    """Ends the script with exit code 1 unless this is a call of a function that takes a Person."""
    equal(f"function, {what}", name, "Person")
    read = Person.model_validate_json if isinstance(arguments, str) else Person.model_validate
    read(arguments)
