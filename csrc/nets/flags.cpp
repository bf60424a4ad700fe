#include "flags.h"

#include <algorithm>
#include <vector>

namespace lvc::nets {

namespace {

// Linear positions of a pass: a quarter of all, their diagonal neighbours, the rest.
std::vector<int32_t> positions_of(int pass, int height, int width) {
  std::vector<int32_t> positions;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const int kind = y % 2 != x % 2 ? 2 : y % 2;
      if (kind == pass) positions.push_back(y * width + x);
    }
  return positions;
}

std::vector<uint8_t> indices(const FlagCall& call, size_t pass, const std::vector<int32_t>& positions) {
  const Layer &net = *call.nets[pass], &head = *call.heads[pass];
  const int n = static_cast<int>(positions.size());
  const Source sources[2] = {{call.trunk, static_cast<size_t>(net.source_channels(0))}, {call.coded, kFlagInputs}};
  std::vector<uint8_t> hidden(positions.size() * static_cast<size_t>(net.outputs()));
  net.run(*call.kernels, {call.height, call.width, positions.data(), nullptr, n, sources, nullptr, nullptr, hidden.data(),
                          false, call.threads});
  std::vector<uint8_t> index(positions.size() * kFlags);
  const Source source{hidden.data(), static_cast<size_t>(net.outputs())};
  head.run(*call.kernels, {1, n, nullptr, nullptr, n, &source, call.offsets[pass], nullptr, index.data(), true, call.threads});
  return index;
}

}  // namespace

void code_flags(Coder* coder, const FlagCall& call) {
  std::fill(call.coded, call.coded + static_cast<size_t>(call.height) * static_cast<size_t>(call.width) * kFlagInputs,
            uint8_t{0});
  for (size_t pass = 0; pass < 3; ++pass) {
    const std::vector<int32_t> positions = positions_of(static_cast<int>(pass), call.height, call.width);
    const size_t n = positions.size();
    if (n == 0) continue;
    const std::vector<uint8_t> index = indices(call, pass, positions);
    std::vector<uint8_t> places(n);
    std::vector<int32_t> values(n), flags(n);
    std::vector<size_t> open(n);  // where a former flag leaves this one open
    for (size_t k = 0; k < kFlags; ++k) {
      if (k == 0 || k == kLumaFlags) {
        open.resize(n);
        for (size_t i = 0; i < n; ++i) open[i] = i;
      }
      for (size_t i = 0; i < open.size(); ++i) {
        places[i] = index[k * n + open[i]];
        if (call.wanted != nullptr) values[i] = call.wanted[static_cast<size_t>(positions[open[i]]) * kFlags + k];
      }
      if (coder != nullptr)
        coder->code(true, call.wanted == nullptr ? nullptr : values.data(), places.data(), open.size(), flags.data());
      const std::vector<int32_t>& coded = coder != nullptr ? flags : values;
      size_t left = 0;
      for (size_t i = 0; i < open.size(); ++i) {
        if (coded[i] == 0) continue;
        call.coded[static_cast<size_t>(positions[open[i]]) * kFlagInputs + k] = kFlagSet;
        open[left++] = open[i];
      }
      open.resize(left);
    }
    for (size_t i = 0; i < n; ++i) {
      const size_t at = static_cast<size_t>(positions[i]);
      call.coded[at * kFlagInputs + kFlags] = kFlagSet;
      for (size_t k = 0; call.index != nullptr && k < kFlags; ++k) call.index[at * kFlags + k] = index[k * n + i];
    }
  }
}

}  // namespace lvc::nets
