// HEVC access units with their entropy coding replaced: the bins are the same, coded with better probabilities. No
// Python.
#ifndef LVC_HEVC_PACKER_H
#define LVC_HEVC_PACKER_H

#include <array>
#include <cstdint>

#include "model.h"
#include "slice.h"

namespace lvc::hevc {

// Either side of a stream: units go through it in decoding order.
class Side {
 public:
  // most_samples: of a picture, in luma.
  Side(const State& state, int count_limit, int weight_rate, size_t most_samples);

  // Begins anew, as at an intra picture.
  void reset();
  // The same, but what was learned is kept: for training.
  void forget() { history_ = History(); }

  // Raises Unsupported: this access unit cannot be packed. The side must then be reset.
  Bytes pack(const uint8_t* data, size_t size);
  // Raises Corrupt; the side must then be reset. `most`: bytes that may come out.
  Bytes unpack(const uint8_t* data, size_t size, size_t most);

  const State& state() const { return model_.state(); }
  const std::array<Bins::Count, kElements>& counts() const { return counts_; }

 private:
  // Returns whether it was a slice.
  bool unit(Bins& bins, const Bytes* payload, Bytes* out);
  // referred: by other pictures; lowest: of temporal layers.
  void slice(Bins& bins, int unit_type, bool referred, bool lowest, const Bytes* payload, Bytes* out);
  int byte(Bins& bins, int value, uint32_t place, uint32_t before, uint32_t type);

  State initial_;
  Model model_;
  size_t most_samples_;
  History history_;
  std::array<Bins::Count, kElements> counts_{};
};

}  // namespace lvc::hevc

#endif  // LVC_HEVC_PACKER_H
