#!/bin/bash
# Runs inside a machine with systemd on which the packages of prefixd were just installed (installed.py).
# Prints one line for each check, "ok NAME: FIGURE" or "fault NAME: WHAT", and "end" at the end.
set -uo pipefail
url=http://127.0.0.1:8080
config=/etc/prefixd/prefixd.toml
unit=prefixd.service

# check NAME [COMMAND...]: the exit code of the command, which is NAME without one, says whether the check
# holds, and its last line of output what was seen.
check() {
  local name=$1 output
  [ $# -eq 1 ] || shift
  systemctl reset-failed "$unit" 2>/dev/null  # these checks start it more often than StartLimitBurst= allows
  if output=$("$@" 2>&1); then
    output=$(tail -n 1 <<<"$output" | cut -c1-300)
    echo "ok $name${output:+: $output}"
  else
    echo "fault $name: $(tr '\n' ' ' <<<"$output" | tail -c 600)"
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

# What is on the disk is loaded, also where the demo model computes it in less time.
changes=/run/systemd/system/prefixd.service.d
mkdir -p "$changes"
printf '%s\n' '[Service]' Environment=PREFIXD_LOAD_POLICY=load >"$changes/load.conf"
systemctl daemon-reload

# Options of the unit, until undo_drop_in.
drop_in() {  # LINE...
  printf '%s\n' '[Service]' "$@" >"$changes/check.conf"
  systemctl daemon-reload
}
undo_drop_in() {
  rm "$changes/check.conf"
  systemctl daemon-reload
}

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

# Versions may differ in the bits that they compute, and then in the keys of their blocks. With f32
# activations they do not.
uses_f32_activations() {
  printf '%s\n' '[Service]' Environment=PREFIXD_ACTIVATIONS=f32 >"$changes/f32.conf"
  systemctl daemon-reload
  systemctl restart "$unit" && wait_for 60 ready && first_is_cold && is_cached
}
# The blocks of this version have outlived the other one.
finds_its_own_blocks() {
  rm "$changes/f32.conf"
  systemctl daemon-reload
  restarts_warm
}

# prefixd-cuda changes the unit of a daemon that runs. Here is no GPU, so the CPU goes on answering.
gpu_package_changes_the_unit() {
  local pid
  pid=$(property MainPID)
  install /root/cuda/*.deb && another_pid "$pid" && [ "$(property PrivateDevices)" = no ] &&
    wait_for 60 ready && is_cached || return 1
  pid=$(property MainPID)
  apt-get -y remove prefixd-cuda </dev/null && another_pid "$pid" &&
    [ "$(property PrivateDevices)" = yes ] && wait_for 60 ready && is_cached
}
# Removal leaves the options and the cache, with which the next installation is warm.
removal_keeps_the_cache() {
  apt-get -y remove prefixd </dev/null && ! systemctl is-active "$unit" && [ ! -e /usr/bin/prefixd ] &&
    [ -s "$config" ] && [ -n "$(ls /var/cache/prefixd/kv)" ] && install /root/*.deb &&
    answers_at_once && is_cached
}
socket_is_disabled() {
  [ "$(systemctl is-enabled prefixd.socket)" = disabled ] && ! systemctl is-active prefixd.socket
}

unit_is_clean() {
  local said
  said=$(systemd-analyze verify --man=no "$unit" 2>&1) && [ -z "$said" ] || { echo "$said"; return 1; }
}
is_confined() { systemd-analyze security --threshold=15 "$unit" | grep 'exposure level'; }
# The probe runs as the program of the unit, and outside of it, where it can do all that it tries.
sandbox_holds() {
  local inside=/run/probe.inside outside=/run/probe.outside
  bash /usr/local/sandbox_probe.sh >"$outside"
  (cd /tmp && rm prefixd-was-here) || return 1
  systemctl stop "$unit"
  drop_in Type=oneshot Restart=no WatchdogSec=0 ExecStart= \
    "ExecStart=/bin/bash /usr/local/sandbox_probe.sh" "StandardOutput=truncate:$inside"
  systemctl start "$unit"
  undo_drop_in
  systemctl start "$unit"
  ! awk '$3 != "allowed"' "$outside" | grep . && ! awk '$2 != $3' "$inside" | grep . &&
    ! ls /tmp | grep -qx prefixd-was-here && [ "$(wc -l <"$inside")" = "$(wc -l <"$outside")" ] &&
    wait_for 60 ready && echo "$(grep -c denied "$inside") denied, $(grep -c 'allowed$' "$inside") allowed"
}

# Keys from a file that root alone can read.
credentials_work() {
  local refused
  (umask 077 && echo secret-of-the-check >/root/keys)
  drop_in LoadCredential=api-keys:/root/keys Environment=PREFIXD_API_KEYS=%d/api-keys
  systemctl restart "$unit"
  wait_for 60 ready
  refused=$(curl -s -o /dev/null -w '%{http_code}' "$url/v1/models")
  curl -sf -o /dev/null -H 'Authorization: Bearer secret-of-the-check' "$url/v1/models"
  local answered=$?
  undo_drop_in
  systemctl restart "$unit"
  echo "without a key: $refused"
  [ "$refused" = 401 ] && [ "$answered" = 0 ] && wait_for 60 ready
}
# Each line of the journal has the level of its message.
journal_has_levels() {
  local all information
  all=$(journalctl --unit "$unit" -o cat _COMM=prefixd)
  information=$(journalctl --unit "$unit" -o cat _COMM=prefixd --priority info..info | wc -l)
  ! grep -E '^(<[0-9]>|20[0-9]{2}-)' <<<"$all" &&
    echo "$(wc -l <<<"$all") lines, $information of them information" && [ "$information" -gt 0 ]
}
runs_as_its_user() { [ "$(ps -o user= -p "$(property MainPID)" | tr -d ' ')" = prefixd ]; }
owns_its_cache() { [ "$(stat -c %U:%a /var/cache/prefixd)" = prefixd:750 ]; }

# The watchdog ends a daemon that hangs, and systemd starts it again.
hang_is_ended() {
  local pid begun=$SECONDS
  pid=$(property MainPID)
  kill -STOP "$pid"
  wait_for 90 another_pid "$pid" && wait_for 60 ready && [ "$(property NRestarts)" -ge 1 ] &&
    echo "ready again after $((SECONDS - begun)) s"
}
another_pid() { local now; now=$(property MainPID); [ "$now" != 0 ] && [ "$now" != "$1" ]; }

# A start that would fail again in the same way is not tried again.
is_not_retried() {  # EXIT_CODE LINE: the line is added to the options
  local status restarts state
  cp "$config" /root/kept.toml
  sed -i "/^${2%% *} =/d" "$config"
  echo "$2" >>"$config"
  systemctl restart "$unit"
  sleep 5
  status=$(property ExecMainStatus) restarts=$(property NRestarts) state=$(property ActiveState)
  cp /root/kept.toml "$config"
  systemctl reset-failed "$unit"
  systemctl start "$unit"
  echo "exit code $status, $restarts restarts, $state"
  [ "$status" = "$1" ] && [ "$restarts" = 0 ] && [ "$state" = failed ] && wait_for 60 ready
}

stop_waits_for_a_stream() {
  curl -sSN --max-time 60 "$url/v1/completions" -H 'Content-Type: application/json' -o /root/stream \
    -d '{"model":"demo","prompt":"Once","max_tokens":3500,"ignore_eos":true,"stream":true}' &
  local client=$! before after
  wait_for 30 grep -q data: /root/stream
  before=$(grep -c '^data: {' /root/stream)
  systemctl stop "$unit"
  after=$(grep -c '^data: {' /root/stream)
  echo "$before events before the stop, $after after it: $(property Result)"
  wait "$client" && [ "$after" -gt "$before" ] && [ "$(property Result)" = success ] &&
    tail -n 2 /root/stream | grep -q '\[DONE\]' && ! grep -q '"error"' /root/stream &&
    systemctl start "$unit" && wait_for 60 ready
}

# Clients of the socket: those with an odd number list the models, the others complete a prompt, half of them
# as a stream. Each writes "CODE EXIT" for a request; a stream that does not end counts as exit code 99.
client() {  # NUMBER
  local out=/root/answer.$1 got stream=false
  [ $(($1 % 4)) -ne 0 ] || stream=true
  while [ ! -e /root/stop ]; do
    if [ $(($1 % 2)) -eq 1 ]; then
      got=$(curl -s -o "$out" -w '%{http_code} %{exitcode}' --max-time 60 "$url/v1/models")
    else
      got=$(curl -s -o "$out" -w '%{http_code} %{exitcode}' --max-time 60 "$url/v1/completions" \
        -H 'Content-Type: application/json' \
        -d '{"model": "demo", "prompt": "Client", "max_tokens": 24, "stream": '"$stream}")
      [ "$got" != '200 0' ] || grep -qE '"finish_reason": ?"(length|stop)"' "$out" || got='200 99'
      [ "$stream:$got" != 'true:200 0' ] || grep -q '\[DONE\]' "$out" || got='200 99'
    fi
    echo "$got"
  done >"/root/client.$1"
}
# Eight clients while the daemon restarts three times behind its socket.
socket_refuses_nobody() {
  systemctl stop "$unit"
  systemctl enable prefixd.socket
  systemctl start prefixd.socket "$unit"
  wait_for 60 ready || return 1
  rm -f /root/stop /root/client.*
  local n again clients=()
  for n in 1 2 3 4 5 6 7 8; do
    client "$n" &
    clients+=($!)
  done
  for again in 1 2 3; do
    sleep 1
    systemctl restart "$unit" && wait_for 60 ready || return 1
  done
  sleep 1
  touch /root/stop
  wait "${clients[@]}"
  # Each request has an answer: 200, or 503 while the model loads. A refused or lost connection is code 000.
  local codes lost
  codes=$(sort /root/client.* | uniq -c | awk '{print $1 " with code " $2 " exit " $3}' | paste -sd ,)
  lost=$(cat /root/client.* | grep -cvE '^(200|503) 0$')
  echo "$(cat /root/client.* | wc -l) requests, $lost refused or lost: $codes; $(is_cached)"
  [ "$lost" = 0 ] && [ "$(grep -lx '200 0' /root/client.* | wc -l)" = 8 ] && is_cached >/dev/null
}

purge_leaves_nothing() {
  apt-get -y purge prefixd prefixd-demo-model </dev/null || return 1
  [ ! -e /var/cache/prefixd ] && [ ! -e /var/lib/prefixd ] && [ ! -e "$config" ] &&
    getent passwd prefixd && ! systemctl is-active "$unit"
}

check answers_at_once
check first_is_cold
check second_is_cached is_cached
check restarts_warm
if [ -d /root/others ]; then
  check uses_f32_activations
  check upgrade_stays_warm
fi
[ ! -d /root/cuda ] || check gpu_package_changes_the_unit
if [ -d /root/others ]; then
  upgraded=$(dpkg-query -W -f '${Version}' prefixd)
  check rollback_stays_warm
  check finds_its_own_blocks
fi
check removal_keeps_the_cache
check socket_is_disabled
check unit_is_clean
check is_confined
check sandbox_holds
check runs_as_its_user
check owns_its_cache
check credentials_work
check journal_has_levels
check hang_is_ended
check wrong_options_are_not_retried is_not_retried 2 'no-such-option = 1'
check wrong_model_is_not_retried is_not_retried 3 'model = "/usr/share/prefixd"'
check stop_waits_for_a_stream
check socket_refuses_nobody
check purge_leaves_nothing
echo end
