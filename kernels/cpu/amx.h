// Whether this process may use the tile instructions of AMX. Any thread.
#pragma once

namespace prefixd::cpu {

// Returns whether the CPU has AMX with bytes and AVX-512 with VNNI, and the operating system lets this
// process use the tiles. The first call asks Linux for them, once for all threads of the process.
bool AmxRunsHere() noexcept;

}  // namespace prefixd::cpu
