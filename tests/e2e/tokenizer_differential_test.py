"""Compares our tokenizer with the `tokenizers` library on random files from a fixed seed.

tokenizer_differential.py runs more of them.
"""

import pytest

from tokenizer_differential import TOOL, Comparison, smallest

needs_tool = pytest.mark.skipif(not TOOL.exists(),
     reason=f"needs {TOOL.name}, which the release stage builds")


def assert_equal(comparison):
    comparison.ours.close()
    assert not comparison.differences, smallest(comparison.differences)


@needs_tool
def test_random_files():
    comparison = Comparison(TOOL, seed=1)
    comparison.random_files(files=100, texts=4)
    assert_equal(comparison)
    assert comparison.files > 60 and comparison.cases > 600


@needs_tool
def test_every_pattern():
    comparison = Comparison(TOOL, seed=2)
    comparison.regexes(texts=8)
    assert_equal(comparison)
    assert comparison.files > 20 and comparison.cases > 400
