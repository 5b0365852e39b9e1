// What every program under bench/ shares: the machine line, `--json FILE`, repeated timing, and a table of
// results.
//
//   int main(int argc, char** argv) {
//     bench::Report report("name_bench", argc, argv);
//     report.PrintMachine();                        // first line, with the ceilings probed now
//     const auto t = bench::Measure(7, [&] { ... });
//     report.Add("prefill", t.median, "s", {{"of_peak", ratio}});
//     return report.Finish();                       // writes the JSON
//   }
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "bench/probe.h"

namespace prefixd::bench {

struct Timing {
  double best;  // seconds; on a machine that others use, the steadier of the two
  double median;
};

// Runs `body` once to warm up, then `runs` times.
Timing Measure(int runs, const std::function<void()>& body);

// The ceilings of this machine, in FLOP/s and bytes/s.
struct Ceilings {
  int threads;
  double avx2_1, avx512_1, read_1;        // one thread
  double avx2_all, avx512_all, read_all;  // `threads` threads
  // Peak of the instruction set that a backend of this name computes with; 0 for one without.
  double Peak(const std::string& backend, int with_threads) const;
};

class Report {
 public:
  using Extras = std::vector<std::pair<std::string, double>>;

  // Takes `--json FILE` and `--NAME VALUE` pairs; anything else ends the program with usage and exit code 2.
  Report(std::string program, int argc, char** argv);

  // Value of `--name`, or `otherwise`.
  std::string Option(const std::string& name, const std::string& otherwise) const;

  // Probes and prints the machine line.
  const Ceilings& PrintMachine();

  // Prints one row and keeps it for the JSON.
  void Add(const std::string& name, double value, const std::string& unit, const Extras& extras = {});

  // Writes the JSON when asked for; the exit code for main.
  int Finish();

 private:
  struct Row {
    std::string name;
    double value;
    std::string unit;
    Extras extras;
  };
  std::string program_;
  std::vector<std::pair<std::string, std::string>> options_;
  Machine machine_;
  Ceilings ceilings_ = {};
  std::vector<Row> rows_;
};

}  // namespace prefixd::bench
