"""What the scripts of this folder ask for as a structured output."""

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
