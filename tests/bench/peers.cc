#include "tests/bench/peers.h"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

namespace attnd::bench {
namespace {

// Standard output of a shell command, or nothing if it failed.
std::optional<std::string> OutputOf(const std::string& command) {
  std::FILE* pipe = popen(command.c_str(), "r");  // NOLINT(cert-env33-c): a script of the source tree
  if (pipe == nullptr) return std::nullopt;
  std::string text;
  std::array<char, 4096> chunk{};
  for (size_t n = 0; (n = std::fread(chunk.data(), 1, chunk.size(), pipe)) > 0;) text.append(chunk.data(), n);
  if (pclose(pipe) != 0) return std::nullopt;
  return text;
}

// A file that is removed again.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) {
    const int descriptor = mkstemp(name_.data());
    if (descriptor >= 0) close(descriptor);
    std::ofstream(name_) << text;
  }
  ~TemporaryFile() { unlink(name_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  std::string name_ = std::filesystem::temp_directory_path() / "attnd_peers_XXXXXX";
};

nlohmann::json Question(const std::vector<RowResult>& rows, const MeasureOptions& options) {
  nlohmann::json question = {{"rounds", options.most_rounds}, {"rows", nlohmann::json::array()}};
  for (const RowResult& result : rows) {
    const bool plain = result.row.option == Option::kNone && result.row.dtype == DataType::kFloat32;
    if (!plain) continue;
    const Dims& d = result.row.dims;
    question["rows"].push_back({{"name", result.row.name},
                                {"threads", result.row.workers},
                                {"causal", result.row.causal},
                                {"dims", {d.batch, d.heads, d.kv_heads, d.q_len, d.kv_len, d.head_dim, d.value_dim}}});
  }
  return question;
}

}  // namespace

std::string MeasurePeers(std::vector<RowResult>& rows, const MeasureOptions& options) {
  const TemporaryFile file(Question(rows, options).dump());
  const auto output = OutputOf("python3 '" ATTND_PEERS_SCRIPT "' '" + file.name() + "'");
  const auto answer = nlohmann::json::parse(output.value_or(""), nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object()) return std::string("peers: python3 could not run ") + ATTND_PEERS_SCRIPT;
  const auto& seconds = answer["seconds"];
  for (RowResult& result : rows) {
    if (!seconds.contains(result.row.name)) continue;
    for (const auto& [peer, value] : seconds[result.row.name].items()) {
      result.peers[peer] = result.value * result.seconds / value.get<double>();
    }
  }
  return answer.value("missing", "");
}

}  // namespace attnd::bench
