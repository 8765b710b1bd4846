// How measures lie in the JSON of a run. Of this folder's sources only.
#ifndef ATTND_CLIENT_LOAD_JSON_MEASURES_H_
#define ATTND_CLIENT_LOAD_JSON_MEASURES_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "client/load/result_json.h"
#include "client/load/run_result.h"

namespace attnd::load {

inline constexpr char kJsonFormat[] = "attnctl load report";
inline constexpr int kJsonVersion = 1;

// runs[] of the document.
nlohmann::ordered_json RunToJson(const RunResult& run);

// What is missing, or is no number, has no value.
std::vector<Measure> MeasuresOfJson(const nlohmann::ordered_json& run);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_JSON_MEASURES_H_
