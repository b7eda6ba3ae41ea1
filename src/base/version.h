// The version of Davit: what --version prints and what CRI clients see.
#pragma once

namespace davit {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace davit
