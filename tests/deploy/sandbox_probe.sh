#!/bin/bash
# Tries what the unit of prefixd must deny and what it must allow. machine_check.sh runs it twice: as the
# program of prefixd.service, in its whole sandbox, and as root without one, where all of it is possible.
# Prints a line for each attempt: its name, what the unit must say, and what happened: "allowed" or "denied".
set -uo pipefail
cd /tmp || exit 1

try() {  # EXPECTED NAME COMMAND...
  local expected=$1 name=$2 got=denied
  shift 2
  if "$@" >/dev/null 2>&1; then got=allowed; fi
  echo "$name $expected $got"
}
deny() { try denied "$@"; }
allow() { try allowed "$@"; }

writes() { touch "$1/.probe" && rm "$1/.probe"; }
# FAMILY TYPE PROTOCOL
opens_socket() { perl -e 'socket(my $s, $ARGV[0], $ARGV[1], $ARGV[2]) or exit 1' "$@"; }
new_file_is_readable_for_all() {
  local file=probe.$$
  touch "$file" && [ "$(stat -c %a "$file")" = 644 ]
  local said=$?
  rm -f "$file"
  return $said
}
makes_set_uid_file() {
  local file=suid.$$
  touch "$file" && chmod u+s "$file"
  local said=$?
  rm -f "$file"
  return $said
}
mounts() { mount -t tmpfs tmpfs /mnt && umount /mnt; }
sets_host_name() { hostname "$(hostname)"; }
may_gain_privileges() { grep -q '^NoNewPrivs:\s0$' /proc/self/status; }
has_capabilities() { ! grep -q '^CapBnd:\s0*$' /proc/self/status; }
may_dump_core() { [ "$(ulimit -Hc)" != 0 ]; }

deny write_usr writes /usr
deny write_etc writes /etc/prefixd
deny write_var writes /var/lib
deny read_root_home ls /root
deny see_other_processes ls /proc/1/fd
deny user_namespace unshare --user true
deny mount_namespace unshare --mount true
deny network_namespace unshare --net true
deny mount_file_system mounts
deny change_root chroot / /bin/true
deny set_host_name sets_host_name
deny netlink_socket opens_socket 16 3 0
deny raw_socket opens_socket 2 3 1
deny realtime chrt --fifo 1 true
deny other_personality setarch --addr-no-randomize true
deny set_uid_file makes_set_uid_file
deny files_for_all new_file_is_readable_for_all
deny gain_privileges may_gain_privileges
deny capabilities has_capabilities
deny core_dump may_dump_core
allow write_cache writes /var/cache/prefixd
allow write_state writes /var/lib/prefixd
allow write_runtime writes /run/prefixd
allow write_tmp writes /tmp
allow tcp_socket opens_socket 2 1 0
allow tcp6_socket opens_socket 10 1 0
allow unix_socket opens_socket 1 1 0
allow choose_cores taskset --cpu-list 0 true
allow read_memory_size grep -q MemTotal /proc/meminfo
allow read_options cat /etc/prefixd/prefixd.toml
allow read_model cat /usr/share/prefixd/models/demo/config.json
touch prefixd-was-here  # in a /tmp of its own, that nobody else sees
