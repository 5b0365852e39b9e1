#!/bin/sh
# check_isa_symbols.sh ISA ARCHIVE: checks the functions that the object file of one instruction set defines.
# Each must be in its namespace (prefixd::ISA::...) or be its table (prefixd::cpu::...Ops()). The linker could
# use any other one, such as an instance of a std:: template, in place of the copy for older CPUs.
set -eu
defined=$(nm -C --defined-only "$2" | sed -n "/^$1\.cc\.o:/,/^\$/p" | grep -E ' [TWVu] ')
[ -n "$defined" ] || { echo "no object $1.cc.o in $2"; exit 1; }
foreign=$(echo "$defined" | grep -vE "prefixd::($1::|cpu::[A-Za-z0-9]+Ops\(\))" || true)
[ -z "$foreign" ] || { echo "$1.cc.o defines functions outside prefixd::$1:"; echo "$foreign"; exit 1; }
