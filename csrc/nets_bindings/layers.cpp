// Python bindings of the layers of integer networks, and nothing else.
#include "nets/layer.h"

#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "common.h"

namespace {

bool is_byte(const py::array& array) {
  return array.dtype().is(py::dtype::of<uint8_t>()) || array.dtype().is(py::dtype::of<int8_t>());
}

// (kernel, is_signed, x_max, channels of each source, weights, bias, shift, low, high, multiplier)
using PartTuple = std::tuple<int, bool, int, std::vector<int>, Array<int8_t>, Array<int32_t>, int, int, int, int>;

std::unique_ptr<nets::Layer> make_layer(int outputs, const std::vector<PartTuple>& parts, int low, int high,
                                        bool wide) {
  require(outputs >= 1 && outputs <= 4096 && !parts.empty() && parts.size() <= 16, "a size is out of range");
  require(low <= high && low >= (wide ? -32768 : 0) && high <= (wide ? 32767 : 255), "the clamp does not fit the type");
  std::vector<nets::PartSpec> specs;
  for (const auto& [kernel, is_signed, x_max, sources, weights, bias, shift, part_low, part_high, multiplier] : parts) {
    require(kernel == 1 || kernel == 3, "kernels are 1x1 or 3x3");
    require(x_max >= 0 && x_max <= (is_signed ? 127 : 255), "inputs do not fit their type");
    require(!sources.empty() && sources.size() <= 16, "a part has 1 to 16 sources");
    int64_t channels = 0;
    for (const int n : sources) {
      require(n >= 1 && n <= 4096, "a source has 1 to 4096 channels");
      channels += n;
    }
    // Signed inputs are offset by 128: up to 255 times 127 each, and the bias of that.
    require(channels * kernel * kernel <= (1 << 15), "a part has too many inputs");
    require(weights.ndim() == 2 && weights.shape(0) == outputs && weights.shape(1) == channels * kernel * kernel &&
                bias.ndim() == 1 && bias.shape(0) == outputs,
            "weights or biases of a wrong shape");
    for (py::ssize_t o = 0; o < outputs; ++o)
      require(bias.data()[o] >= -(1 << 28) && bias.data()[o] <= (1 << 28), "a bias is out of range");
    require(shift >= 0 && shift <= 30 && part_low <= part_high && part_low >= -32768 && part_high <= 32767 &&
                multiplier >= 1 && multiplier <= 256,
            "a requantization is out of range");
    specs.push_back({kernel, is_signed, x_max, sources, weights.data(), bias.data(), shift, part_low, part_high,
                     multiplier});
  }
  return std::make_unique<nets::Layer>(outputs, specs, low, high,
                                       wide ? nets::Output::kInt16 : nets::Output::kUint8);
}

// sources: arrays (height, width, channels) or (n, channels) of bytes, and the first channel of each.
py::array run_layer(const nets::Layer& layer, const std::vector<std::pair<py::array, int>>& sources,
                    const std::optional<Array<int32_t>>& positions, const std::optional<Array<int32_t>>& offset,
                    const std::optional<Array<uint8_t>>& residual, const std::optional<Array<bool>>& wanted,
                    bool planar, int threads, const std::string& simd) {
  const nets::Kernels& kernels = kernels_named(simd);
  require(sources.size() == layer.sources() && !sources.empty(), "a wrong number of sources");
  require(threads >= 1, "threads must be at least 1");
  nets::Call call{};
  std::vector<nets::Source> views;
  for (size_t s = 0; s < sources.size(); ++s) {
    const auto& [array, first] = sources[s];
    require(is_byte(array) && (array.ndim() == 2 || array.ndim() == 3) && (array.flags() & py::array::c_style) != 0,
            "a source must be two- or three-dimensional bytes, one row after the other");
    const bool is_signed = array.dtype().is(py::dtype::of<int8_t>());
    require(is_signed == layer.source_signed(s), "a source has another sign than the layer was made for");
    const py::ssize_t height = array.ndim() == 3 ? array.shape(0) : 1, width = array.shape(array.ndim() - 2);
    const py::ssize_t channels = array.shape(array.ndim() - 1);
    require(height <= (1 << 16) && width <= (1 << 28) && height * width <= (1 << 28), "a source is too large");
    require(first >= 0 && first + layer.source_channels(s) <= channels, "a source has too few channels");
    if (s == 0) {
      call.height = static_cast<int>(height);
      call.width = static_cast<int>(width);
    }
    require(height == call.height && width == call.width, "sources of two sizes");
    views.push_back({static_cast<const uint8_t*>(array.data()) + first, static_cast<size_t>(channels)});
  }
  call.sources = views.data();
  const int area = call.height * call.width;
  call.n = area;
  if (positions) {
    require(positions->ndim() == 1 && positions->shape(0) <= (1 << 28), "positions must be one row");
    call.n = static_cast<int>(positions->shape(0));
    call.positions = positions->data();
    for (int i = 0; i < call.n; ++i)
      require(call.positions[i] >= 0 && call.positions[i] < area, "a position is outside");
  }
  if (wanted) {
    require(!positions && wanted->ndim() == 2 && wanted->shape(0) == call.height && wanted->shape(1) == call.width,
            "what is wanted does not fit the sources");
    call.wanted = reinterpret_cast<const uint8_t*>(wanted->data());
  }
  if (offset) {
    require(offset->ndim() == 1 && offset->shape(0) == layer.outputs(), "offsets of a wrong shape");
    call.offset = offset->data();
  }
  if (residual) {
    require(residual->size() == static_cast<py::ssize_t>(call.n) * layer.outputs(), "a residual of a wrong size");
    call.residual = residual->data();
  }
  call.planar = planar;
  call.threads = threads;
  std::vector<py::ssize_t> shape;
  if (planar) shape.push_back(layer.outputs());
  if (positions || sources[0].first.ndim() == 2) {
    shape.push_back(call.n);
  } else {
    shape.push_back(call.height);
    shape.push_back(call.width);
  }
  if (!planar) shape.push_back(layer.outputs());
  const bool wide = layer.output() == nets::Output::kInt16;
  py::array out = wide ? py::array(Array<int16_t>(shape)) : py::array(Array<uint8_t>(shape));
  call.out = out.mutable_data();
  {
    py::gil_scoped_release release;
    layer.run(kernels, call);
  }
  return out;
}

}  // namespace

void bind_layers(py::module_& m) {
  py::class_<nets::Layer>(m, "Layer")
      .def(py::init(&make_layer), py::arg("outputs"), py::arg("parts"), py::arg("low"), py::arg("high"),
           py::arg("wide"))
      .def("run", &run_layer, py::arg("sources"), py::arg("positions").noconvert().none(true),
           py::arg("offset").noconvert().none(true), py::arg("residual").noconvert().none(true),
           py::arg("wanted").noconvert().none(true), py::arg("planar"), py::arg("threads"), py::arg("simd"));
  m.def("has_simd", [](const std::string& name) { return nets::find_kernels(name.c_str()) != nullptr; },
        py::arg("name"));
}
