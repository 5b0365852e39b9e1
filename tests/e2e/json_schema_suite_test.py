"""The grammars of JSON Schemas agree with the JSON Schema Test Suite."""

import collections

import json_schema_suite


def test_the_grammars_agree_with_the_json_schema_test_suite():
    counts, differing, unnamed = collections.Counter(), [], []
    for case, what, why in json_schema_suite.compare(json_schema_suite.DRAFTS):
        counts[what] += 1
        if what == "differs":
            differing.append(case)
        # A keyword, or a place that a reference names.
        if what == "refused" and "'" not in why and "no text matches" not in why:
            unnamed.append((why, case))
    assert differing == []
    assert unnamed == []
    assert counts["agrees"] > 2000 and counts["agrees"] > 2 * counts["by design"], counts
