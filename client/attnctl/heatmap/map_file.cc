#include "client/attnctl/heatmap/map_file.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/npy.h"
#include "client/picture/html.h"
#include "client/picture/png.h"
#include "client/picture/svg.h"
#include "client/picture/theme.h"
#include "core/attention/tensor.h"
#include "core/runtime/file.h"

namespace attnd::attnctl {
namespace {

bool IsPng(std::string_view path) { return path.ends_with(".png"); }

absl::StatusOr<std::string> Draw(const std::string& path, const std::string& theme, const picture::AttentionMap& map) {
  if (IsPng(path)) return DrawPng(map, theme == "dark" ? picture::Theme::kDark : picture::Theme::kLight);
  return path.ends_with(".svg") ? DrawSvg(map) : DrawHtml(map);
}

// Of a PNG, whose first chunk says it: eight bytes of magic, length and name of the chunk,
// then width and height.
std::string PixelsOf(std::string_view png) {
  constexpr size_t kWidthAt = 16;
  constexpr size_t kHeightAt = 20;
  if (png.size() < kHeightAt + 4) return "";
  const auto number = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(png[at + i]);
    return value;
  };
  return absl::StrCat(", ", number(kWidthAt), " x ", number(kHeightAt), " pixels");
}

}  // namespace

absl::Status CheckPicture(const std::string& path, const std::string& theme) {
  if (!IsPng(path) && !path.ends_with(".svg") && !path.ends_with(".html")) {
    return absl::InvalidArgumentError(absl::StrCat("--output: '", path, "' ends in neither .png, .svg nor .html"));
  }
  if (theme.empty()) return absl::OkStatus();
  if (theme != "light" && theme != "dark") {
    return absl::InvalidArgumentError(absl::StrCat("--theme: '", theme, "' is not light or dark"));
  }
  if (IsPng(path)) return absl::OkStatus();
  return absl::InvalidArgumentError("--theme: is for .png; the others look as their viewer prefers");
}

absl::StatusOr<std::string> WritePicture(const std::string& path, const std::string& theme, const DrawnMap& drawn) {
  const auto picture = Draw(path, theme, drawn.map);
  if (!picture.ok()) return picture.status();
  const std::array parts = {std::as_bytes(std::span<const char>(*picture))};
  if (auto status = WriteFile(path, parts); !status.ok()) return status;
  return absl::StrCat("written to ", path, ": ", drawn.summary, IsPng(path) ? PixelsOf(*picture) : "");
}

absl::StatusOr<std::string> SaveMap(const std::string& path, const DrawnMap& drawn) {
  std::vector<float> means;
  for (const picture::HeadMap& head : drawn.map.heads) means.insert(means.end(), head.mean.begin(), head.mean.end());
  const StoredTensor array =
      drawn.rollout.empty()
          ? StoredTensor{"", StoredType::kF32, drawn.shape, std::as_bytes(std::span<const float>(means))}
          : StoredTensor{"", StoredType::kF64, drawn.shape, std::as_bytes(std::span<const double>(drawn.rollout))};
  if (auto status = WriteNpy(path, array); !status.ok()) return status;
  return absl::StrCat("written to ", path, ": ", drawn.rollout.empty() ? "float32 " : "float64 ",
                      ShapeString(drawn.shape));
}

}  // namespace attnd::attnctl
