// Codes how far the coefficients of each block reach: the flags of lvc.models.swift, in three passes. No Python.
#ifndef LVC_NETS_FLAGS_H
#define LVC_NETS_FLAGS_H

#include <array>
#include <cstdint>

#include "coder.h"
#include "layer.h"

namespace lvc::nets {

constexpr size_t kFlags = 6;
constexpr size_t kLumaFlags = 4;  // the others are of chroma
constexpr size_t kFlagInputs = kFlags + 1;
constexpr uint8_t kFlagSet = 63;

// Arrays are [height][width][.].
struct FlagCall {
  int height, width, threads;
  const Kernels* kernels;
  // Of each pass: what it sees of the trunk and, from the second on, of the flags so far; and the indices of its flags.
  std::array<const Layer*, 3> nets, heads;
  std::array<const int32_t*, 3> offsets;  // of the indices, [kFlags]
  const uint8_t* trunk;
  const uint8_t* wanted;  // [kFlags] of 0 and 1, what to write; null when reading
  uint8_t* coded;         // [kFlagInputs]: the flags, and what has been coded, 0 or kFlagSet
  uint8_t* index;         // [kFlags]: of all flags, if they are coded or not; or null
};
// Without a coder, flags are those wanted.
void code_flags(Coder* coder, const FlagCall& call);

}  // namespace lvc::nets

#endif  // LVC_NETS_FLAGS_H
