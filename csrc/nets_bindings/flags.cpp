// Python bindings of the coding of flags, and nothing else.
#include "nets/flags.h"

#include <optional>
#include <tuple>

#include "coder.h"
#include "common.h"

namespace {

using Layers = std::tuple<const nets::Layer*, const nets::Layer*, const nets::Layer*>;

std::array<const nets::Layer*, 3> layers_of(const Layers& layers) {
  return {std::get<0>(layers), std::get<1>(layers), std::get<2>(layers)};
}

py::tuple code_flags(const std::optional<py::function>& code, const py::object& distribution, const Layers& layers,
                     const Layers& heads, const Array<int32_t>& offsets, const Array<uint8_t>& trunk,
                     const std::optional<Array<uint8_t>>& wanted, int threads, const std::string& simd) {
  require(trunk.ndim() == 3 && trunk.shape(0) * trunk.shape(1) <= (1 << 28) && threads >= 1, "a trunk of a wrong shape");
  const int height = static_cast<int>(trunk.shape(0)), width = static_cast<int>(trunk.shape(1));
  const py::ssize_t flags = static_cast<py::ssize_t>(nets::kFlags);
  const auto fits = [&](const Array<uint8_t>& array) {
    return array.ndim() == 3 && array.shape(0) == height && array.shape(1) == width && array.shape(2) == flags;
  };
  require(!wanted || fits(*wanted), "flags of a wrong shape");
  require(code.has_value() || wanted.has_value(), "there is nothing to read from");
  require(offsets.ndim() == 2 && offsets.shape(0) == 3 && offsets.shape(1) == flags, "offsets of a wrong shape");
  const std::array<const nets::Layer*, 3> first = layers_of(layers), second = layers_of(heads);
  const auto is_bytes = [](const nets::Layer& layer, size_t sources) {
    bool fit = layer.sources() == sources && layer.output() == nets::Output::kUint8;
    for (size_t s = 0; s < sources; ++s) fit = fit && !layer.source_signed(s);
    return fit;
  };
  for (size_t pass = 0; pass < 3; ++pass) {
    require(first[pass] != nullptr && second[pass] != nullptr && is_bytes(*first[pass], pass == 0 ? 1 : 2) &&
                is_bytes(*second[pass], 1) && first[pass]->source_channels(0) == trunk.shape(2) &&
                (pass == 0 || first[pass]->source_channels(1) == static_cast<int>(nets::kFlagInputs)) &&
                second[pass]->source_channels(0) == first[pass]->outputs() && second[pass]->outputs() == flags,
            "layers do not fit");
  }
  Array<uint8_t> coded({trunk.shape(0), trunk.shape(1), static_cast<py::ssize_t>(nets::kFlagInputs)});
  Array<uint8_t> index({trunk.shape(0), trunk.shape(1), flags});
  const nets::FlagCall call{height, width, threads, &kernels_named(simd), first, second,
                            {offsets.data(0), offsets.data(1), offsets.data(2)}, trunk.data(),
                            wanted ? wanted->data() : nullptr, coded.mutable_data(), index.mutable_data()};
  if (code) {
    PyCoder coder(*code, distribution, distribution);
    nets::code_flags(&coder, call);
  } else {
    nets::code_flags(nullptr, call);
  }
  return py::make_tuple(coded, index);
}

}  // namespace

void bind_flags(py::module_& m) {
  m.def("code_flags", &code_flags, py::arg("code").none(true), py::arg("distribution"), py::arg("nets"),
        py::arg("heads"), py::arg("offsets").noconvert(), py::arg("trunk").noconvert(),
        py::arg("wanted").noconvert().none(true), py::arg("threads"), py::arg("simd"));
}
