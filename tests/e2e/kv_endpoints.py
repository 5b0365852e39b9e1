"""Where a daemon of a test publishes its KV events."""

import re

from daemon import wait_until


def endpoint(daemon, name="endpoint"):
    """The endpoint of a daemon, from its log."""
    pattern = re.compile(rf'KV events .*?\b{name}="?(tcp://[0-9.:]+)')
    wait_until(lambda: any(pattern.search(line or "") for line in daemon.log), "the endpoint of events")
    return next(found[1] for line in daemon.log if (found := pattern.search(line or "")))


def ready(daemon):
    wait_until(lambda: daemon.get("/ready")[0] == 200, "/ready")
    return daemon
