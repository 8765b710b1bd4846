// Requests that well-known models make, by name.
#ifndef ATTND_CLIENT_LOAD_PRESETS_H_
#define ATTND_CLIENT_LOAD_PRESETS_H_

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "client/load/work_shape.h"

namespace attnd::load {

struct Preset {
  const char* name = nullptr;
  // For the help.
  const char* help = nullptr;
};

// All of them. Lives as long as the program.
std::span<const Preset> Presets();

// What load tests send unless told otherwise.
inline constexpr char kDefaultPreset[] = "bert-base";

// The shape, called like the preset; nothing if there is none of that name.
std::optional<WorkShape> ShapeOfPreset(std::string_view name);

// "bert-base, llama-decode, ...".
std::string PresetNames();

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_PRESETS_H_
