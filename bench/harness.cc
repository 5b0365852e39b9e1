#include "bench/harness.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iomanip>
#include <sstream>

namespace prefixd::bench {
namespace {

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + '"';
}

bool IsCount(double value) { return value == std::floor(value) && std::abs(value) < 1e15; }

// For the JSON file.
std::string Number(double value) {
  if (!std::isfinite(value)) return "null";
  std::ostringstream out;
  if (IsCount(value)) {
    out << std::fixed << std::setprecision(0) << value;
  } else {
    out << std::setprecision(6) << value;
  }
  return out.str();
}

// For the table.
std::string Printed(double value, const std::string& unit = "") {
  if (!std::isfinite(value)) return "n/a";
  char text[32];
  std::snprintf(text, sizeof(text), unit == "share" ? "%.4f" : IsCount(value) ? "%.0f" : "%.4g", value);
  return text;
}

}  // namespace

Timing Measure(int runs, const std::function<void()>& body) {
  body();
  std::vector<double> seconds;
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds.front(), seconds[seconds.size() / 2]};
}

WeightFormat FormatOrExit(const Arguments& arguments, const char* option) {
  std::vector<std::string> names;
  for (int kind = 0; kind < WeightFormat::kKinds; ++kind)
    names.emplace_back(WeightFormat(static_cast<WeightFormat::Kind>(kind)).name());
  const Result<std::string> name = arguments.OneOf(option, names);
  if (!name.ok()) arguments.Fail(name.status());
  return static_cast<WeightFormat::Kind>(std::ranges::find(names, *name) - names.begin());
}

double Ceilings::Peak(const std::string& backend, int with_threads) const {
  if (backend == "avx2") return Of(Instruction::kFmaAvx2).On(with_threads);
  if (backend.starts_with("avx512")) return Of(Instruction::kFmaAvx512).On(with_threads);
  return 0;
}

double Ceilings::ProductPeak(const std::string& backend, WeightFormat weights, int with_threads) const {
  if (weights.quantized() && backend == "avx2") return Of(Instruction::kPairsAvx2).On(with_threads);
  if (weights.quantized() && backend.starts_with("avx512")) {
    const double dots = Of(Instruction::kDotsInt8).On(with_threads);
    return dots > 0 ? dots : Of(Instruction::kPairsAvx512).On(with_threads);
  }
  if (backend == "avx512bf16" && weights == WeightFormat::kBF16)
    return Of(Instruction::kDotsBF16).On(with_threads);
  return Peak(backend, with_threads);
}

Report::Report(const Arguments& arguments)
    : program_(arguments.program()), json_path_(arguments.Text(kJsonOption.name)) {
  // A path that cannot be written is an error now, before a measurement that takes minutes.
  if (!json_path_.empty() && !std::ofstream(json_path_, std::ios::app)) {
    arguments.Fail(InvalidArgument("--json '" + json_path_ + "': cannot write this file; check its folder"));
  }
}

std::string Report::MachineLine() {
  machine_ = DescribeMachine();
  std::string line = "machine: " + machine_.cpu + ", " + std::to_string(machine_.cpus) + " CPUs,";
  for (const std::string& feature : machine_.features) line += " " + feature;
  return line;
}

void Report::PrintMachine() {
  std::printf("%s\n", MachineLine().c_str());
  std::fflush(stdout);
}

const Ceilings& Report::ProbeMachine() {
  const std::string line = MachineLine();
  const int all = machine_.cpus;
  ceilings_.threads = all;
  for (const Instruction instruction : kInstructions) {
    ceilings_.ops[static_cast<size_t>(instruction)] = {OpsPerSecond(instruction, 1),
                                                       OpsPerSecond(instruction, all)};
  }
  ceilings_.read = {ReadBytesPerSecond(1), ReadBytesPerSecond(all)};
  std::printf("%s; on 1 and %d threads: Gop/s", line.c_str(), all);
  std::string lacking;
  for (const Instruction instruction : kInstructions) {
    const Ceilings::Rate rate = ceilings_.Of(instruction);
    if (rate.one > 0) {
      std::printf(" %s %.1f %.1f,", NameOf(instruction), rate.one / 1e9, rate.all / 1e9);
    } else {
      lacking += std::string(", ") + NameOf(instruction) + " (needs " + NeedsOf(instruction) + ")";
    }
  }
  std::printf(" read GB/s %.1f %.1f%s%s\n", ceilings_.read.one / 1e9, ceilings_.read.all / 1e9,
              lacking.empty() ? "" : "; skipped", lacking.empty() ? "" : lacking.c_str() + 1);
  std::fflush(stdout);
  return ceilings_;
}

void Report::Add(const std::string& name, double value, const std::string& unit, const Extras& extras) {
  std::printf("%-44s %12s %-8s", name.c_str(), Printed(value, unit).c_str(), unit.c_str());
  for (const auto& [key, extra] : extras) std::printf("  %s %s", key.c_str(), Printed(extra).c_str());
  std::printf("\n");
  std::fflush(stdout);
  rows_.push_back({name, value, unit, extras});
}

int Report::Finish() {
  if (json_path_.empty()) return 0;
  std::ofstream out(json_path_);
  out << "{\"program\":" << Quoted(program_) << ",\"machine\":{\"cpu\":" << Quoted(machine_.cpu)
      << ",\"cpus\":" << machine_.cpus << ",\"features\":[";
  for (size_t i = 0; i < machine_.features.size(); ++i) out << (i ? "," : "") << Quoted(machine_.features[i]);
  out << "]";
  if (const Ceilings& c = ceilings_; c.threads > 0) {
    out << ",\"ops_per_second\":{";
    for (const Instruction instruction : kInstructions) {
      const Ceilings::Rate rate = c.Of(instruction);
      out << (instruction == kInstructions[0] ? "" : ",") << Quoted(NameOf(instruction))
          << ":{\"1\":" << Number(rate.one) << ",\"all\":" << Number(rate.all) << "}";
    }
    out << "},\"read_bytes_per_second\":{\"1\":" << Number(c.read.one) << ",\"all\":" << Number(c.read.all)
        << "}";
  }
  out << "},\"results\":[";
  for (size_t i = 0; i < rows_.size(); ++i) {
    const Row& row = rows_[i];
    out << (i ? "," : "") << "\n{\"name\":" << Quoted(row.name) << ",\"value\":" << Number(row.value)
        << ",\"unit\":" << Quoted(row.unit);
    for (const auto& [key, value] : row.extras) out << "," << Quoted(key) << ":" << Number(value);
    out << "}";
  }
  out << "\n]}\n";
  out.close();
  if (!out) {
    std::fprintf(stderr, "%s: cannot write %s: check the folder and the free space\n", program_.c_str(),
                 json_path_.c_str());
    return 1;
  }
  return 0;
}

}  // namespace prefixd::bench
