#!/bin/sh
# check_isa_symbols.sh ISA ARCHIVE: every function that the object of one instruction set defines must be its own
# (prefixd::ISA::...) or the one door (prefixd::cpu::...Ops()). Anything else, say a std:: template, could replace the copy
# that code for older CPUs uses.
set -eu
defined=$(nm -C --defined-only "$2" | sed -n "/^$1\.cc\.o:/,/^\$/p" | grep -E ' [TWVu] ')
[ -n "$defined" ] || { echo "no object $1.cc.o in $2"; exit 1; }
foreign=$(echo "$defined" | grep -vE "prefixd::($1::|cpu::[A-Za-z0-9]+Ops\(\))" || true)
[ -z "$foreign" ] || { echo "$1.cc.o defines what is not its own:"; echo "$foreign"; exit 1; }
