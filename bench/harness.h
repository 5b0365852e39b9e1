// What every measuring program under bench/ shares: the machine line, `--json FILE`, repeated timing and a
// table of results. One thread.
//
//   int main(int argc, char** argv) {
//     bench::Arguments arguments("name_bench", "Measures ...", {..., bench::kJsonOption});
//     arguments.ParseOrExit(argc, argv);
//     bench::Report report(arguments);
//     report.ProbeMachine();                        // the first line
//     const auto t = bench::Measure(7, [&] { ... });
//     report.Add("prefill", t.median, "s", {{"of_peak", ratio}});
//     return report.Finish();                       // writes the JSON file
//   }
#pragma once

#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "bench/arguments.h"
#include "bench/probe.h"
#include "kernels/weight_format.h"

namespace prefixd::bench {

struct Timing {
  double best;  // seconds; on a machine that other processes use, it varies less than the median
  double median;
};

// Runs `body` once to warm up, then `runs` times.
Timing Measure(int runs, const std::function<void()>& body);

// The format of weights that an option names. Fails the program where it names none.
WeightFormat FormatOrExit(const Arguments& arguments, const char* option);

// The ceilings of this machine, in operations/s and bytes/s; 0 for an instruction that the CPU lacks.
struct Ceilings {
  struct Rate {
    double one, all;  // on one thread, and on `threads`
    double On(int with_threads) const { return with_threads == 1 ? one : all; }
  };
  int threads;  // of `all`
  Rate ops[std::size(kInstructions)];
  Rate read;

  Rate Of(Instruction instruction) const { return ops[static_cast<size_t>(instruction)]; }
  // The peak of the instruction that the backend of this name computes with: FMA, but for products of bf16
  // weights where it has another, and of quantised weights. 0 for a backend without one.
  double Peak(const std::string& backend, int with_threads) const;
  double ProductPeak(const std::string& backend, WeightFormat weights, int with_threads) const;
};

// The option that every measuring program declares.
inline const OptionSpec kJsonOption = {"--json", "FILE", "", "write the results to FILE as JSON"};

class Report {
 public:
  using Extras = std::vector<std::pair<std::string, double>>;

  // `arguments` declares kJsonOption.
  explicit Report(const Arguments& arguments);

  // Prints the machine line, with the ceilings. To probe them takes seconds of all CPUs.
  const Ceilings& ProbeMachine();
  // The same without them, for a program that others call many times.
  void PrintMachine();

  // Prints one row and keeps it for the JSON file. A value or extra that is not a number (NaN) is printed as
  // `n/a` and written as null. The table shows 4 significant digits, counts in full, and 4 decimals for the
  // unit "share".
  void Add(const std::string& name, double value, const std::string& unit, const Extras& extras = {});

  // Writes the JSON file if --json names one. Returns the exit code for main: 1 when it cannot be written.
  int Finish();

 private:
  std::string MachineLine();

  struct Row {
    std::string name;
    double value;
    std::string unit;
    Extras extras;
  };
  std::string program_;
  std::string json_path_;
  Machine machine_;
  Ceilings ceilings_ = {};  // without threads, they are not known
  std::vector<Row> rows_;
};

}  // namespace prefixd::bench
