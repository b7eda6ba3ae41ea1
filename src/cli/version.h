// The version that --version prints.
#pragma once

namespace davit::cli {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace davit::cli
