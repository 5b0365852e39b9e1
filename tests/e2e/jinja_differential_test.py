"""Compares our templates with Jinja2: the cases of the unit test, and random conversations."""

import pytest

import jinja_differential


def test_the_cases_of_the_unit_test_match_the_reference():
    assert jinja_differential.check_cases() == []


def test_a_thousand_random_conversations_render_alike():
    if not jinja_differential.RENDERER.exists():
        pytest.skip(f"{jinja_differential.RENDERER} is not built")
    requests = jinja_differential.random_requests(1000, seed=20260701)
    rendered, raised, differing = jinja_differential.compare(requests)
    assert differing == []
    assert rendered > 500 and raised > 100, "the conversations cover too little"


def test_real_chat_templates_are_among_them():
    if not jinja_differential.chat_templates():
        pytest.skip(f"{jinja_differential.SHARED} is absent")
    assert len(jinja_differential.chat_templates()) >= 13
