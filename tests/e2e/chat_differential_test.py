"""Compares conversations that are fitted to real chat templates with Jinja2."""

import pytest

import chat_differential
from jinja_differential import RENDERER


def test_fitted_conversations_render_as_the_reference():
    if not RENDERER.exists():
        pytest.skip(f"{RENDERER} is not built")
    if not chat_differential.templates():
        pytest.skip(f"{chat_differential.SHARED} is absent")
    rendered, refused, faults = chat_differential.compare(900, seed=20261127)
    assert faults == []
    assert rendered > 600, f"{refused} of 900 are refused: the conversations cover too little"
