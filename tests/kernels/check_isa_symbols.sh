#!/bin/sh
# check_isa_symbols.sh SOURCE ARCHIVE: checks the functions that the object file of a source for one
# instruction set defines, such as avx2 or quant_avx2. Each must be in the namespace of the instruction set
# (prefixd::avx2) or be its table (prefixd::cpu::...Ops()). The linker could use any other one, such as an
# instance of a std:: template, in place of the copy for older CPUs.
set -eu
isa=${1#quant_}
defined=$(nm -C --defined-only "$2" | sed -n "/^$1\.cc\.o:/,/^\$/p" | grep -E ' [TWVu] ')
[ -n "$defined" ] || { echo "no object $1.cc.o in $2"; exit 1; }
foreign=$(echo "$defined" | grep -vE "prefixd::($isa::|cpu::[A-Za-z0-9]+Ops\(\))" || true)
[ -z "$foreign" ] || { echo "$1.cc.o defines functions outside prefixd::$isa:"; echo "$foreign"; exit 1; }
