// The version that clients see.
#pragma once

namespace davit::cri {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace davit::cri
