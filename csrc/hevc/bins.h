// Bins on their way from one coder to the other: packing reads them as HEVC codes them and writes them with the model,
// unpacking does the reverse. The syntax is the same code for both. No Python.
#ifndef LVC_HEVC_BINS_H
#define LVC_HEVC_BINS_H

#include <array>
#include <cstdint>
#include <initializer_list>

#include "cabac.h"
#include "model.h"

namespace lvc::hevc {

// What bins are of; with a number below 64 behind it, it chooses weights of the model. kElementNames follows.
enum Element : int {
  kUnitByte,
  kHeader,
  kESplitCu,
  kESkip,
  kEPredMode,
  kEPartMode,
  kEPrevIntra,
  kEMpm,
  kERemMode,
  kEChromaMode,
  kEMerge,
  kEMergeIndex,
  kEDirection,
  kEReference,
  kEMvdGreater,
  kEMvdRest,
  kEMvdSign,
  kEMvp,
  kERootCbf,
  kESplitTransform,
  kECbfLuma,
  kECbfChroma,
  kEQpDelta,
  kETransformSkip,
  kELast,
  kELastSuffix,
  kECodedSubBlock,
  kESignificant,
  kEGreater1,
  kEGreater2,
  kESign,
  kERemaining,
  kESao,
  kEBypassCu,
  kElements,
};

extern const char* const kElementNames[kElements];

// What is known of a slice that matters to all of its bins.
struct Situation {
  int frame = 0;  // 0: I, 1: P, 2: B that others refer to, 3: other B
  int qp = 0;     // 0..3
};

class Bins {
 public:
  Bins(Model& model, ArithmeticEncoder* encoder, ArithmeticDecoder* decoder)
      : model_(model), encoder_(encoder), decoder_(decoder) {}

  bool packing() const { return encoder_ != nullptr; }

  // Of unit headers, slice headers and parameter sets: one bit; `value` counts when packing.
  int plain(Element element, int sub, int value, std::initializer_list<uint32_t> contexts);

  // A bin with a context variable, or (context < 0) one without. `choice`: 0..63, of further weights.
  int bin(Element element, int sub, int context, std::initializer_list<uint32_t> contexts, int choice = 0);

  // end_of_slice_segment_flag and such, whose value is known.
  void terminate(bool expected);

  Situation situation;
  Contexts contexts;
  CabacReader reader;
  CabacWriter writer;
  // Of an element: how many bins there were, and their bits as HEVC's contexts and as the model would have it.
  struct Count {
    double bins = 0, before = 0, after = 0;
  };
  std::array<Count, kElements> counts{};

 private:
  int code(Element element, int sub, int fixed, int value, std::initializer_list<uint32_t> contexts, int choice);

  Model& model_;
  ArithmeticEncoder* encoder_;
  ArithmeticDecoder* decoder_;
  Query query_;
};

// Small numbers side by side, `bits` each; larger ones are cut off.
template <typename... Parts>
constexpr uint32_t join(int bits, Parts... parts) {
  uint32_t joined = 0;
  const uint32_t most = (1u << bits) - 1;
  ((joined = joined << bits | (static_cast<uint32_t>(parts) > most ? most : static_cast<uint32_t>(parts))), ...);
  return joined;
}

// 0, 1, 2, 3, 4, 5-6, 7-9, 10-14, 15-22, 23-35, ...: up to 15.
int bucket(int value);

}  // namespace lvc::hevc

#endif  // LVC_HEVC_BINS_H
