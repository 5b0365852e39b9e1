"""SIGHUP reloads what a running daemon can change, says what needs a restart, and refuses what is broken."""

import signal

from daemon import Daemon, wait_until


def logged(daemon, words, count=1):
    return sum(words in (line or "") for line in daemon.log) >= count


def test_sighup_reloads_level_and_keys(tmp_path):
    keys, config = tmp_path / "keys", tmp_path / "prefixd.toml"
    keys.write_text("sk-one\n")
    config.write_text(f'api-keys = "{keys}"\nlog-level = "info"\n')
    with Daemon("--config", config) as daemon:
        def status(key):
            return daemon.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})[0]
        assert (status("sk-one"), status("sk-two")) == (200, 401)

        keys.write_text("sk-two\n")
        config.write_text(f'api-keys = "{keys}"\nlog-level = "debug"\nthreads = 1\n')
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: logged(daemon, "reloaded"), "the reload")
        line = next(line for line in daemon.log if "reloaded" in line)
        assert 'changed="api-keys log-level"' in line and "needs_restart=threads" in line, line
        assert (status("sk-one"), status("sk-two")) == (401, 200)

        config.write_text('log-level = "loud"\nthraeds = 1\n')
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: logged(daemon, "reload refused"), "the refusal")
        line = next(line for line in daemon.log if "reload refused; nothing has changed" in line)
        for words in ("loud", "thraeds", "prefixd.toml"):
            assert words in line, line
        assert (status("sk-one"), status("sk-two")) == (401, 200)

        config.write_text(f'api-keys = "{keys}"\nlog-level = "error"\n')
        keys.unlink()
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: logged(daemon, "reload refused", 2), "the refusal")
        assert status("sk-two") == 200, "the keys of before stay"

        keys.write_text("sk-three\n")
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: logged(daemon, "reloaded", 2), "the reload")
        lines = len(daemon.log)
        assert status("sk-three") == 200 and status("sk-two") == 401
        assert not any("request refused" in (line or "") for line in daemon.log[lines:]), "below the level"
        daemon.signal()
        assert daemon.exit_code() == 0


def test_sighup_while_nothing_has_changed():
    with Daemon() as daemon:
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: logged(daemon, "reloaded changed=none needs_restart=none"), "the reload")
        assert daemon.complete(prompt="a", max_tokens=1)["choices"]
        daemon.signal()
        assert daemon.exit_code() == 0
