// The entropy coder as the networks' code sees it. No Python.
#ifndef LVC_NETS_CODER_H
#define LVC_NETS_CODER_H

#include <cstddef>
#include <cstdint>

namespace lvc::nets {

// An entropy coder that writes or reads.
class Coder {
 public:
  virtual ~Coder() = default;
  // Code n integers under the distributions that the indices name, those of flags or of values. Writes `values` and
  // gives them back; or reads, where `values` is null.
  virtual void code(bool flags, const int32_t* values, const uint8_t* index, size_t n, int32_t* out) = 0;
};

}  // namespace lvc::nets

#endif  // LVC_NETS_CODER_H
