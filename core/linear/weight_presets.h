// How libraries name a layer's tensors. Used by weight_mapping.
#ifndef ATTND_CORE_LINEAR_WEIGHT_PRESETS_H_
#define ATTND_CORE_LINEAR_WEIGHT_PRESETS_H_

#include <vector>

#include "core/linear/weight_mapping.h"

namespace attnd {

// Several may have one name: first those that describe more.
std::vector<NamingScheme> PresetSchemes();

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_WEIGHT_PRESETS_H_
