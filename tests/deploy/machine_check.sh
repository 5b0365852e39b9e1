#!/bin/bash
# Runs inside a machine with systemd on which the packages of prefixd were just installed (installed.py).
# Prints one line for each check, "ok NAME" or "fault NAME: WHAT", and "end" at the end.
set -uo pipefail
url=http://127.0.0.1:8080
config=/etc/prefixd/prefixd.toml
unit=prefixd.service

check() {  # NAME COMMAND...: the command says with its exit code whether the check holds
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    echo "ok $name"
  else
    echo "fault $name: $(tr '\n' ' ' <<<"$output" | cut -c1-600)"
  fi
}
wait_for() {  # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "not within time: $*"; return 1; }
    sleep 0.2
  done
}
ready() { curl -sf "$url/ready"; }
property() { systemctl show --property="$1" --value "$unit"; }

prompt="Once upon a time there was a number. $(seq -s ' ' 1 150)"
cached_tokens() {
  curl -sS --fail --max-time 60 "$url/v1/completions" -H 'Content-Type: application/json' \
    -d "{\"model\": \"demo\", \"prompt\": \"$prompt\", \"max_tokens\": 4, \"temperature\": 0}" |
    sed -n 's/.*"cached_tokens": *\([0-9]*\).*/\1/p'
}
answers_at_once() {
  systemctl is-enabled "$unit" && systemctl is-active "$unit" && wait_for 60 ready
}
first_is_cold() { [ "$(cached_tokens)" = 0 ]; }
is_cached() { local n; n=$(cached_tokens); echo "cached tokens: $n"; [ "${n:-0}" -gt 100 ]; }
restarts_warm() { systemctl restart "$unit" && wait_for 60 ready && is_cached; }

install() { apt-get install -y --allow-downgrades "$@" </dev/null; }
upgrade_stays_warm() {
  local before
  before=$(dpkg-query -W -f '${Version}' prefixd)
  install /root/others/*.deb && [ "$(dpkg-query -W -f '${Version}' prefixd)" != "$before" ] &&
    wait_for 60 ready && is_cached
}
rollback_stays_warm() {
  install /root/*.deb && [ "$(dpkg-query -W -f '${Version}' prefixd)" != "$upgraded" ] &&
    wait_for 60 ready && is_cached
}

unit_is_clean() {
  local said
  said=$(systemd-analyze verify --man=no "$unit" 2>&1) && [ -z "$said" ] || { echo "$said"; return 1; }
}
is_confined() { systemd-analyze security --threshold=15 "$unit"; }
# What the daemon itself may do, seen from inside its sandbox.
cannot_write_outside() {
  local pid
  pid=$(property MainPID)
  ! nsenter --target "$pid" --mount touch /etc/prefixd/written && ! nsenter --target "$pid" --mount ls /root/x
}
runs_as_its_user() { [ "$(ps -o user= -p "$(property MainPID)" | tr -d ' ')" = prefixd ]; }
owns_its_cache() { [ "$(stat -c %U:%a /var/cache/prefixd)" = prefixd:750 ]; }

# The watchdog ends a daemon that hangs, and systemd starts it again.
hang_is_ended() {
  local pid
  pid=$(property MainPID)
  kill -STOP "$pid"
  wait_for 90 another_pid "$pid" && wait_for 60 ready && [ "$(property NRestarts)" -ge 1 ]
}
another_pid() { local now; now=$(property MainPID); [ "$now" != 0 ] && [ "$now" != "$1" ]; }

wrong_options_are_not_retried() {
  cp "$config" /root/kept.toml
  echo 'no-such-option = 1' >>"$config"
  systemctl restart "$unit"
  sleep 5
  local status restarts state
  status=$(property ExecMainStatus) restarts=$(property NRestarts) state=$(property ActiveState)
  cp /root/kept.toml "$config"
  systemctl reset-failed "$unit"
  systemctl start "$unit"
  echo "exit code $status, $restarts restarts, $state"
  [ "$status" = 2 ] && [ "$restarts" = 0 ] && [ "$state" = failed ] && wait_for 60 ready
}

stop_waits_for_a_stream() {
  curl -sSN --max-time 60 "$url/v1/completions" -H 'Content-Type: application/json' -o /root/stream \
    -d '{"model":"demo","prompt":"Once","max_tokens":1500,"ignore_eos":true,"stream":true}' &
  local client=$!
  wait_for 30 grep -q data: /root/stream
  systemctl stop "$unit"
  wait "$client" && tail -n 2 /root/stream | grep -q '\[DONE\]' && ! grep -q '"error"' /root/stream &&
    systemctl start "$unit" && wait_for 60 ready
}

# Eight clients while the daemon restarts twice behind its socket.
socket_refuses_nobody() {
  systemctl enable --now prefixd.socket || { systemctl stop "$unit"; systemctl start prefixd.socket; }
  systemctl stop "$unit"
  systemctl start prefixd.socket "$unit"
  wait_for 60 ready || return 1
  rm -f /root/stop /root/client.*
  local n
  for n in 1 2 3 4 5 6 7 8; do
    while [ ! -e /root/stop ]; do
      curl -s -o /dev/null -w '%{http_code} %{exitcode}\n' --max-time 60 "$url/v1/models"
    done >"/root/client.$n" &
  done
  sleep 1
  systemctl restart "$unit" && wait_for 60 ready && systemctl restart "$unit" && wait_for 60 ready
  sleep 1
  touch /root/stop
  wait
  local counts
  counts=$(cat /root/client.* | sort | uniq -c | tr '\n' ';')
  echo "$counts"
  # 200, or 503 while the model loads: never a refused or lost connection (000).
  ! grep -hq '^000' /root/client.* && grep -hq '^200 0' /root/client.* && is_cached
}

purge_leaves_nothing() {
  apt-get -y purge prefixd prefixd-demo-model </dev/null || return 1
  [ ! -e /var/cache/prefixd ] && [ ! -e /var/lib/prefixd ] && [ ! -e "$config" ] &&
    getent passwd prefixd && ! systemctl is-active "$unit"
}

check answers_at_once answers_at_once
check first_is_cold first_is_cold
check second_is_cached is_cached
check restarts_warm restarts_warm
if [ -d /root/others ]; then
  check upgrade_stays_warm upgrade_stays_warm
  upgraded=$(dpkg-query -W -f '${Version}' prefixd)
  check rollback_stays_warm rollback_stays_warm
fi
check unit_is_clean unit_is_clean
check is_confined is_confined
check cannot_write_outside cannot_write_outside
check runs_as_its_user runs_as_its_user
check owns_its_cache owns_its_cache
check hang_is_ended hang_is_ended
check wrong_options_are_not_retried wrong_options_are_not_retried
check stop_waits_for_a_stream stop_waits_for_a_stream
check socket_refuses_nobody socket_refuses_nobody
check purge_leaves_nothing purge_leaves_nothing
echo end
