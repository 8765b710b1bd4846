#include "tests/bench/peers.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>

namespace attnd::bench {
namespace {

using Json = nlohmann::json;

const char* WordOf(Option option) {
  switch (option) {
    case Option::kNone:
      return "none";
    case Option::kWindow:
      return "window";
    case Option::kDocuments:
      return "documents";
    case Option::kRagged:
      return "ragged";
    case Option::kBoolMask:
      return "bool_mask";
    case Option::kBitMask:
      return "bit_mask";
    case Option::kBias:
      return "bias";
    case Option::kAlibi:
      return "alibi";
    case Option::kSoftcap:
    case Option::kRope:
    case Option::kWideLogits:
    case Option::kDenormalValues:
    case Option::kDiagnostics:
    case Option::kTopK:
    case Option::kHeatmap:
      break;
  }
  return nullptr;
}

const char* WordOf(DataType dtype) {
  if (dtype == DataType::kFloat16) return "f16";
  return dtype == DataType::kBfloat16 ? "bf16" : "f32";
}

// The row as peer.py wants it; nothing if what the row compares is ours alone.
std::optional<Json> QuestionOf(const Row& row) {
  if (row.work != Work::kAttention && row.measure != Measure::kShareOfPeak) return std::nullopt;
  const int64_t width = row.dims.heads * row.dims.head_dim;
  switch (row.work) {
    case Work::kAttention:
      break;
    case Work::kMultiHead:
      return std::nullopt;
    case Work::kLinear:
      return Json{{"kind", "linear"}, {"rows", row.dims.q_len},     {"in", row.in},
                  {"out", row.out},   {"dtype", WordOf(row.dtype)}, {"threads", row.workers}};
    case Work::kLayer:
      return Json{{"kind", "layer"},       {"batch", row.dims.batch}, {"length", row.dims.q_len},
                  {"width", width},        {"heads", row.dims.heads}, {"ffn_width", 4 * width},
                  {"activation", "gelu"},  {"norm_first", false},     {"dtype", WordOf(row.dtype)},
                  {"threads", row.workers}};
  }
  const char* option = WordOf(row.option);
  const bool share = row.measure == Measure::kShareOfPeak || row.measure == Measure::kShareOfBandwidth;
  if (option == nullptr || !(share || (row.measure == Measure::kOverPlain && row.option != Option::kNone))) {
    return std::nullopt;
  }
  const Dims& d = row.dims;
  Json lengths = Json::array();
  for (int64_t b = 0; b < d.batch; ++b) lengths.push_back(RaggedTokens(d, b));
  return Json{{"dims", {d.batch, d.heads, d.kv_heads, d.q_len, d.kv_len, d.head_dim, d.value_dim}},
              {"causal", row.causal},
              {"option", option},
              {"dtype", WordOf(row.dtype)},
              {"threads", row.workers},
              {"window", kWindowKeys},
              {"document", kDocumentTokens},
              {"lengths", lengths}};
}

// A line of JSON; null if there is none.
Json ReadAnswer(std::FILE* answers) {
  char* line = nullptr;
  size_t capacity = 0;
  const ssize_t length = getline(&line, &capacity, answers);
  Json answer = length > 0 ? Json::parse(line, line + length, nullptr, /*allow_exceptions=*/false) : Json();
  std::free(line);  // NOLINT(cppcoreguidelines-no-malloc): getline's
  return answer.is_object() ? answer : Json();
}

Json Ask(std::FILE* questions, std::FILE* answers, const Json& question) {
  const std::string line = question.dump() + "\n";
  if (std::fputs(line.c_str(), questions) < 0 || std::fflush(questions) != 0) return Json();
  return ReadAnswer(answers);
}

// Holds PyTorch's own kernels and its MKL to AVX2; its oneDNN follows the variable that ours does.
constexpr const char* kTorchAvx2[] = {"ATEN_CPU_CAPABILITY=avx2", "MKL_ENABLE_INSTRUCTIONS=AVX2",
                                      "ONEDNN_MAX_CPU_ISA=AVX2"};

std::string Python() {
  const char* python = std::getenv("ATTND_PEERS_PYTHON");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  return python != nullptr ? python : "python3";
}

// Starts peer.py; returns nullptr and says why in `missing` if that or its import fails.
std::unique_ptr<Peer> Start(const std::string& name, bool avx2, std::string& missing) {
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) environment.emplace_back(*variable);
  if (avx2) environment.insert(environment.end(), std::begin(kTorchAvx2), std::end(kTorchAvx2));
  std::vector<char*> variables;
  for (std::string& variable : environment) variables.push_back(variable.data());
  variables.push_back(nullptr);
  std::string arguments[] = {Python(), ATTND_PEERS_SCRIPT, name};
  char* const argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(), nullptr};

  int to[2];
  int from[2];
  if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) return nullptr;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, argv[0], &actions, nullptr, argv, variables.data());
  posix_spawn_file_actions_destroy(&actions);
  close(to[0]);
  close(from[1]);
  std::FILE* questions = fdopen(to[1], "w");
  std::FILE* answers = fdopen(from[0], "r");
  const Json hello = failed == 0 ? ReadAnswer(answers) : Json();
  auto peer = std::make_unique<Peer>(name, hello.is_object() ? hello.value("version", "") : "",
                                     hello.is_object() ? hello.value("isa", "") : "", failed == 0 ? pid : 0, questions,
                                     answers);
  if (!peer->version().empty()) return peer;
  missing += hello.is_object() ? hello.value("missing", name) : name + ": " + Python() + " does not run";
  missing += "\n";
  return nullptr;
}

}  // namespace

Peer::Peer(std::string name, std::string version, std::string isa, int pid, std::FILE* questions, std::FILE* answers)
    : name_(std::move(name)),
      version_(std::move(version)),
      isa_(std::move(isa)),
      pid_(pid),
      questions_(questions),
      answers_(answers) {}

Peer::~Peer() {
  // The end of its input ends the process.
  std::fclose(questions_);
  if (pid_ > 0) waitpid(pid_, nullptr, 0);
  std::fclose(answers_);
}

bool Peer::Open(const Row& row) {
  const auto question = QuestionOf(row);
  if (!question) return false;
  const Json answer = Ask(questions_, answers_, {{"open", *question}});
  return answer.is_object() && answer.value("ok", false);
}

double Peer::Turn(double least_seconds) {
  const Json answer = Ask(questions_, answers_, {{"turn", least_seconds}});
  // Threads of peers go on turning for a while, which must not be at the next turn's cost.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  return answer.is_object() ? answer.value("seconds", -1.0) : -1.0;
}

Peers StartPeers(const std::string& isa) {
  // A peer that ends early is a row without a figure, not the end of us.
  std::signal(SIGPIPE, SIG_IGN);
  Peers peers;
  const bool avx2 = isa == "avx2";
  for (const char* name : {"torch", "ort"}) {
    if (avx2 && std::string(name) == "ort") {
      peers.missing += "ort: left out, as ONNX Runtime cannot be held to AVX2\n";
      continue;
    }
    if (auto peer = Start(name, avx2, peers.missing)) peers.started.push_back(std::move(peer));
  }
  if (peers.started.empty()) peers.missing += "./dev bench --peers installs them where they are not in anybody's way\n";
  return peers;
}

}  // namespace attnd::bench
