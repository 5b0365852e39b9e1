"""Checks that the daemon withstands malformed requests: a fixed, short run of malformed_requests.py."""

import malformed_requests
from daemon import TLS


def test_malformed_requests_never_break_the_daemon():
    statuses, failures = malformed_requests.run(count=3000, seed=1, threads=4)
    assert not failures, failures[:10]
    assert statuses[400] > 500 and statuses[200] > 100, statuses
    assert statuses[405] > 0 or TLS is not None, "over TLS no answer to a broken request is read"
