"""Compares the tokenizers of random model folders with transformers, from a fixed seed.

PREFIXD_TOKENIZER_FOLDERS is the number of folders; tokenizer_differential_folders.py prints more.
"""

import os

import pytest

from tokenizer_differential import TOOL, smallest

pytest.importorskip("transformers", reason="needs transformers, which tests/run installs")
from tokenizer_differential_folders import SHARED, Comparison  # noqa: E402

needs_tool = pytest.mark.skipif(not TOOL.exists(),
     reason=f"needs {TOOL.name}, which the release stage builds")
needs_data = pytest.mark.skipif(not (SHARED / "golden").exists(), reason="needs the folder shared")


@needs_tool
@needs_data
def test_random_folders():
    folders = int(os.environ.get("PREFIXD_TOKENIZER_FOLDERS", "150"))
    comparison = Comparison(TOOL, seed=1)
    comparison.random_folders(folders, texts=6)
    comparison.ours.close()
    assert not comparison.differences, smallest(comparison.differences)
    assert not comparison.refused["prefixd"]
    assert comparison.counts["folders"] > 0.9 * folders
    assert comparison.counts["with ids"] > 0.6 * folders
