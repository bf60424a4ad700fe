// Python bindings of the coding of motion, and nothing else.
#include "nets/motion.h"

#include <optional>
#include <tuple>

#include "coder.h"
#include "common.h"
#include "nets/layer.h"

namespace {

using Layers = std::tuple<const nets::Layer*, const nets::Layer*, const nets::Layer*>;

nets::Head head_of(const Layers& layers, int offset, size_t features, size_t outputs, bool is_signed,
                   const std::string& simd) {
  const nets::Head head{&kernels_named(simd), {std::get<0>(layers), std::get<1>(layers), std::get<2>(layers)}, offset};
  int inputs = static_cast<int>(features);
  for (const nets::Layer* layer : head.layers) {
    require(layer != nullptr && layer->sources() == 1 && layer->source_channels(0) == inputs &&
                layer->source_signed(0) == (is_signed && layer == head.layers[0]) &&
                layer->output() == nets::Output::kUint8,
            "layers do not fit");
    inputs = layer->outputs();
  }
  require(head.outputs() == outputs && offset >= 0 && offset < 64, "layers do not fit");
  return head;
}

nets::LogTable log_of(const Array<uint8_t>& table) {
  require(table.ndim() == 1 && table.size() >= 1, "a table of a wrong shape");
  for (py::ssize_t i = 0; i < table.size(); ++i) require(table.data()[i] <= 63, "a logarithm is out of range");
  return {table.data(), static_cast<size_t>(table.size())};
}

template <typename T>
const T* data_of(const std::optional<Array<T>>& array, bool field, int height, int width) {
  if (!array) return nullptr;
  require(array->ndim() == 2 + field && array->shape(0 + field) == height && array->shape(1 + field) == width &&
              (!field || array->shape(0) == 2),
          "an array does not fit the field");
  return array->data();
}

void check_shape(int height, int width, int quality) {
  require(height >= 0 && width >= 0 && height <= (1 << 14) && width <= (1 << 14), "a size is out of range");
  require(quality >= 0 && quality <= 63, "a quality is out of range");
}

using Vectors = std::optional<Array<int16_t>>;
using Flags = std::optional<Array<bool>>;
using Sizes = std::optional<Array<uint8_t>>;

py::tuple code_motion(const py::function& code, const py::object& flags, const py::object& values,
                      const Layers& vectors, const Layers& splits, std::pair<int, int> offsets, const Vectors& field,
                      const Sizes& sizes, std::pair<int, int> shape, int quality, const Vectors& former,
                      const Sizes& former_sizes, const Array<uint8_t>& log_table, const std::string& simd) {
  const auto [height, width] = shape;
  check_shape(height, width, quality);
  require(field.has_value() == sizes.has_value(), "a field comes with its sizes");
  Array<int16_t> out_field({2, height, width});
  Array<uint8_t> out_sizes({height, width});
  PyCoder coder(code, flags, values);
  nets::code_motion(
      coder, {height, width, quality,
              head_of(vectors, offsets.first, nets::kVectorFeatures, nets::kCandidates + 2, false, simd),
              head_of(splits, offsets.second, nets::kSplitFeatures, 1, false, simd), log_of(log_table),
              data_of(former, true, height, width), data_of(former_sizes, false, height, width),
              data_of(field, true, height, width), data_of(sizes, false, height, width), out_field.mutable_data(),
              out_sizes.mutable_data()});
  return py::make_tuple(out_field, out_sizes);
}

Array<bool> code_compound(const py::function& code, const py::object& flags, const Layers& layers, int offset,
                          const Array<int16_t>& field, const Array<uint8_t>& sizes, const Array<int16_t>& second,
                          const Array<int32_t>& difference, const Flags& former, const Flags& wanted, int age,
                          int quality, const Array<uint8_t>& log_table, const std::string& simd) {
  require(sizes.ndim() == 2, "sizes must be two-dimensional");
  const int height = static_cast<int>(sizes.shape(0)), width = static_cast<int>(sizes.shape(1));
  check_shape(height, width, quality);
  require(age >= 0 && age <= (1 << 28), "an age is out of range");
  const auto bytes = [&](const Flags& array) {
    return reinterpret_cast<const uint8_t*>(data_of(array, false, height, width));
  };
  Array<bool> out({height, width});
  PyCoder coder(code, flags, flags);
  nets::code_compound(
      coder, {height, width, quality, age, head_of(layers, offset, nets::kCompoundFeatures, 1, true, simd),
              log_of(log_table), data_of<int16_t>(field, true, height, width), sizes.data(),
              data_of<int16_t>(second, true, height, width), data_of<int32_t>(difference, false, height, width),
              bytes(former), bytes(wanted), reinterpret_cast<uint8_t*>(out.mutable_data())});
  return out;
}

}  // namespace

void bind_motion(py::module_& m) {
  m.def("code_motion", &code_motion, py::arg("code"), py::arg("flags"), py::arg("values"), py::arg("vectors"),
        py::arg("splits"), py::arg("offsets"), py::arg("field").noconvert().none(true),
        py::arg("sizes").noconvert().none(true), py::arg("shape"), py::arg("quality"),
        py::arg("former").noconvert().none(true), py::arg("former_sizes").noconvert().none(true),
        py::arg("log_table").noconvert(), py::arg("simd"));
  m.def("code_compound", &code_compound, py::arg("code"), py::arg("flags"), py::arg("layers"), py::arg("offset"),
        py::arg("field").noconvert(), py::arg("sizes").noconvert(), py::arg("second").noconvert(),
        py::arg("difference").noconvert(), py::arg("former").noconvert().none(true),
        py::arg("wanted").noconvert().none(true), py::arg("age"), py::arg("quality"),
        py::arg("log_table").noconvert(), py::arg("simd"));
}
