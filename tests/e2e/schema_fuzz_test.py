"""Checks the daemon against its own document with schemathesis: a fixed, short run of schema_fuzz.py."""

import schema_fuzz


def test_no_answer_breaks_the_document():
    code, report = schema_fuzz.run(examples=8, seed=1)
    assert code == 0, report
