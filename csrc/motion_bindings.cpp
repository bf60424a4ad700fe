// Python bindings of the block motion search and compensation, and nothing else. Shapes and types are checked
// here once more, so that no call can read or write outside of an array.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "motion/search.h"

namespace py = pybind11;
namespace motion = lvc::motion;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

const motion::Kernels& kernels_named(const std::string& name) {
  const motion::Kernels* kernels = motion::find_kernels(name.c_str());
  if (kernels == nullptr) throw std::invalid_argument("no such kernels here");
  return *kernels;
}

motion::PlaneView view(const Array<uint8_t>& plane) {
  if (plane.ndim() != 2 || plane.shape(0) < 1 || plane.shape(1) < 1 || plane.shape(0) > (1 << 16) ||
      plane.shape(1) > (1 << 16))
    throw std::invalid_argument("a plane must be two-dimensional, with 1 to 65536 rows and columns");
  return {plane.data(), plane.shape(1), static_cast<int>(plane.shape(1)), static_cast<int>(plane.shape(0))};
}

motion::PlaneView same_size(const Array<uint8_t>& plane, const motion::PlaneView& other) {
  const motion::PlaneView result = view(plane);
  if (result.width != other.width || result.height != other.height) throw std::invalid_argument("planes of two sizes");
  return result;
}

int blocks(int samples, int side) { return (samples + side - 1) / side; }

// `side`: samples of the plane in a block.
motion::Field field_of(const Array<int16_t>& vectors, const motion::PlaneView& plane, int side) {
  const int rows = blocks(plane.height, side), cols = blocks(plane.width, side);
  if (vectors.ndim() != 3 || vectors.shape(0) != 2 || vectors.shape(1) != rows || vectors.shape(2) != cols)
    throw std::invalid_argument("the field does not fit the plane");
  return {vectors.data(0), vectors.data(1), rows, cols};
}

motion::Window window_of(int number) {
  if (number < 0 || number > 2) throw std::invalid_argument("no such window");
  return static_cast<motion::Window>(number);
}

// A plane, the vectors into it, and for each block 1 where the prediction is the mean of both references, or 0.
using SecondArrays = std::tuple<Array<uint8_t>, Array<int16_t>, Array<uint8_t>>;

Array<uint8_t> predict_plane(const Array<uint8_t>& plane, const Array<int16_t>& vectors,
                             const std::optional<SecondArrays>& second, bool chroma, int window,
                             const std::string& simd) {
  const motion::PlaneView reference = view(plane);
  const int side = chroma ? motion::kBlock / 2 : motion::kBlock;
  const motion::Field field = field_of(vectors, reference, side);
  motion::Second other{};
  if (second) {
    const auto& [plane2, vectors2, compound] = *second;
    other = {same_size(plane2, reference), field_of(vectors2, reference, side), compound.data()};
    if (compound.ndim() != 2 || compound.shape(0) != field.rows || compound.shape(1) != field.cols)
      throw std::invalid_argument("the choice of references does not fit the field");
  }
  const motion::Kernels& kernels = kernels_named(simd);
  const motion::Window kind = window_of(window);
  Array<uint8_t> out({reference.height, reference.width});
  uint8_t* data = out.mutable_data();
  {
    py::gil_scoped_release release;
    motion::predict_plane(kernels, reference, field, chroma, kind, data, reference.width, second ? &other : nullptr);
  }
  return out;
}

py::tuple search(const Array<uint8_t>& current, const Array<uint8_t>& reference,
                 const std::optional<Array<int16_t>>& previous,
                 const std::optional<std::tuple<Array<uint8_t>, std::optional<Array<int16_t>>>>& second, int window,
                 double lagrangian, int effort, int threads, const std::string& simd) {
  const motion::PlaneView a = view(current), b = same_size(reference, a);
  if (!(lagrangian >= 0.0 && lagrangian <= motion::kMaxLagrangian) || effort < 0 || effort > motion::kMaxEffort ||
      threads < 1)
    throw std::invalid_argument("an option is out of range");
  const motion::Kernels& kernels = kernels_named(simd);
  const motion::SearchOptions options{window_of(window), lagrangian, effort, threads};
  const int rows = blocks(a.height, motion::kBlock), cols = blocks(a.width, motion::kBlock);
  motion::Field former{};
  if (previous) former = field_of(*previous, a, motion::kBlock);
  motion::SecondReference other{};
  if (second) {
    const auto& [plane, chain] = *second;
    other.reference = same_size(plane, a);
    if (chain) other.chain = field_of(*chain, a, motion::kBlock);
  }
  Array<int16_t> vectors({2, rows, cols});
  Array<uint8_t> sizes({rows, cols}), compound({rows, cols});
  Array<int32_t> satd({rows, cols});
  const motion::SearchResult result{vectors.mutable_data(0), vectors.mutable_data(1), sizes.mutable_data(),
                                    compound.mutable_data(), satd.mutable_data()};
  {
    py::gil_scoped_release release;
    motion::search(kernels, a, b, previous ? &former : nullptr, second ? &other : nullptr, options, result);
  }
  return py::make_tuple(vectors, sizes, satd, compound);
}

}  // namespace

PYBIND11_MODULE(_motion, m) {
  m.doc() = "C++ kernels of block motion. Use lvc.ops.blockmotion, not this.";
  m.def("predict_plane", &predict_plane, py::arg("plane").noconvert(), py::arg("vectors").noconvert(),
        py::arg("second").none(true), py::arg("chroma"), py::arg("window"), py::arg("simd"));
  m.def("search", &search, py::arg("current").noconvert(), py::arg("reference").noconvert(),
        py::arg("previous").noconvert().none(true), py::arg("second").none(true), py::arg("window"), py::arg("lagrangian"), py::arg("effort"),
        py::arg("threads"), py::arg("simd"));
  m.def("has_simd", [](const std::string& name) { return motion::find_kernels(name.c_str()) != nullptr; },
        py::arg("name"));
  m.attr("BLOCK") = motion::kBlock;
  m.attr("MAX_EFFORT") = motion::kMaxEffort;
  m.attr("MAX_LAGRANGIAN") = motion::kMaxLagrangian;
}
