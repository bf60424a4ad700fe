// Python bindings of the adaptive filters, and nothing else. Shapes and types are checked here once more, so that no
// call can read or write outside of an array.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdlib>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "filters/filter.h"
#include "filters/vectors.h"

namespace py = pybind11;
namespace filters = lvc::filters;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

using TermTuple = std::tuple<int, int, int, std::vector<std::array<int, 3>>>;

constexpr int kMaxSide = 1 << 16;
constexpr int kMaxStep = 64, kMaxReach = 16;

[[noreturn]] void refuse(const char* why) { throw std::invalid_argument(why); }

template <typename T>
std::pair<int, int> size_of(const Array<T>& plane) {
  if (plane.ndim() != 2 || plane.shape(0) < 1 || plane.shape(1) < 1 || plane.shape(0) > kMaxSide ||
      plane.shape(1) > kMaxSide)
    refuse("a plane must be two-dimensional, with 1 to 65536 rows and columns");
  return {static_cast<int>(plane.shape(1)), static_cast<int>(plane.shape(0))};
}

std::vector<filters::Source> planes_of(const py::list& arrays) {
  std::vector<filters::Source> planes;
  for (const py::handle& item : arrays) {
    if (py::isinstance<Array<uint8_t>>(item)) {
      const auto array = py::reinterpret_borrow<Array<uint8_t>>(item);
      const auto [width, height] = size_of(array);
      planes.push_back({array.data(), nullptr, width, height});
    } else if (py::isinstance<Array<int16_t>>(item)) {
      const auto array = py::reinterpret_borrow<Array<int16_t>>(item);
      const auto [width, height] = size_of(array);
      planes.push_back({nullptr, array.data(), width, height});
    } else {
      refuse("planes must be contiguous arrays of uint8 or int16");
    }
    if (planes.back().width != planes[0].width || planes.back().height != planes[0].height)
      refuse("planes of two sizes");
  }
  if (planes.empty()) refuse("no planes");
  return planes;
}

std::vector<filters::Term> terms_of(const std::vector<TermTuple>& tuples, size_t n_planes) {
  if (tuples.size() > filters::kMaxTerms) refuse("too many terms");
  std::vector<filters::Term> terms;
  size_t count = 0;
  for (const auto& [reference, small, large, places] : tuples) {
    if (reference < -1 || reference >= static_cast<int>(n_planes) || small < 0 || small > filters::kMaxValue ||
        large < 0 || large > filters::kMaxValue || places.empty() || places.size() > filters::kMaxPlaces)
      refuse("a term is out of range");
    if ((count += places.size()) > filters::kAllPlaces) refuse("too many places");
    terms.push_back({reference, static_cast<int16_t>(small), static_cast<int16_t>(large), {}});
    for (const auto& [plane, dy, dx] : places) {
      if (plane < 0 || plane >= static_cast<int>(n_planes) || dy < -filters::kRadius || dy > filters::kRadius ||
          dx < -filters::kRadius || dx > filters::kRadius)
        refuse("a place is out of range");
      terms.back().places.push_back({plane, dy, dx});
    }
  }
  return terms;
}

void check_side(int side) {
  if (side != 4 && side != 8) refuse("blocks have sides of 4 or 8");
}

Array<uint8_t> apply(const Array<uint8_t>& samples, const py::list& arrays, const std::vector<TermTuple>& tuples,
                     const Array<uint8_t>& classes, int side, const Array<int16_t>& coefficients, int threads,
                     bool plain) {
  const auto [width, height] = size_of(samples);
  const std::vector<filters::Source> planes = planes_of(arrays);
  const std::vector<filters::Term> terms = terms_of(tuples, planes.size());
  check_side(side);
  if (planes[0].width != width || planes[0].height != height) refuse("planes of two sizes");
  const int rows = (height + side - 1) / side, cols = (width + side - 1) / side;
  if (classes.ndim() != 2 || classes.shape(0) != rows || classes.shape(1) != cols)
    refuse("the classes do not fit the plane");
  if (coefficients.ndim() != 2 ||
      coefficients.shape(1) != static_cast<py::ssize_t>(terms.size()) * filters::kWays)
    refuse("the coefficients do not fit the terms");
  for (py::ssize_t i = 0; i < classes.size(); ++i)
    if (classes.data()[i] >= coefficients.shape(0)) refuse("a class without coefficients");
  for (py::ssize_t i = 0; i < coefficients.size(); ++i)
    if (std::abs(coefficients.data()[i]) > filters::kMaxCoefficient) refuse("a coefficient is out of range");
  if (threads < 1) refuse("threads must be 1 or more");
  Array<uint8_t> out({height, width});
  uint8_t* dst = out.mutable_data();
  const filters::Classes map{classes.data(), rows, cols, side};
  {
    py::gil_scoped_release release;
    filters::apply(planes, terms, map, coefficients.data(), samples.data(), dst, threads, plain);
  }
  return out;
}

Array<float> features(const py::list& arrays, const std::vector<TermTuple>& tuples, const Array<int32_t>& blocks,
                      int side) {
  const std::vector<filters::Source> planes = planes_of(arrays);
  const std::vector<filters::Term> terms = terms_of(tuples, planes.size());
  check_side(side);
  const int cols = (planes[0].width + side - 1) / side;
  for (py::ssize_t i = 0; i < blocks.size(); ++i) {
    const int64_t block = blocks.data()[i];
    if (block < 0 || (block / cols + 1) * side > planes[0].height || (block % cols + 1) * side > planes[0].width)
      refuse("a block lies outside");
  }
  Array<float> out({static_cast<py::ssize_t>(terms.size()) * filters::kWays, blocks.size() * side * side});
  float* dst = out.mutable_data();
  {
    py::gil_scoped_release release;
    filters::features(planes, terms, blocks.data(), static_cast<size_t>(blocks.size()), cols, side, dst);
  }
  return out;
}

Array<uint8_t> classify(const Array<uint8_t>& frame, const Array<uint8_t>& before, const Array<uint8_t>& after,
                        const std::array<int, 2>& activity, const std::array<int, 2>& change) {
  const auto [width, height] = size_of(frame);
  if (size_of(before) != size_of(frame) || size_of(after) != size_of(frame)) refuse("planes of two sizes");
  for (const auto& limits : {activity, change})
    for (const int limit : limits)
      if (limit < 0 || limit > filters::kMaxValue) refuse("a limit is out of range");
  Array<uint8_t> out({(height + 7) / 8, (width + 7) / 8});
  uint8_t* dst = out.mutable_data();
  {
    py::gil_scoped_release release;
    filters::classify(frame.data(), before.data(), after.data(), width, height, activity.data(), change.data(), dst);
  }
  return out;
}

Array<int16_t> refine(const Array<uint8_t>& current, const Array<uint8_t>& reference, const py::list& arrays, int reach,
                      const std::vector<int>& steps, int threads) {
  const auto [width, height] = size_of(current);
  if (size_of(reference) != size_of(current)) refuse("planes of two sizes");
  const int rows = (height + 7) / 8, cols = (width + 7) / 8;
  std::vector<filters::Vectors> fields;
  for (const py::handle& item : arrays) {
    if (!py::isinstance<Array<int16_t>>(item)) refuse("fields must be contiguous arrays of int16");
    const auto field = py::reinterpret_borrow<Array<int16_t>>(item);
    if (field.ndim() != 3 || field.shape(0) != 2 || field.shape(1) != rows || field.shape(2) != cols)
      refuse("a field does not fit the planes");
    fields.push_back(field.data());
  }
  if (fields.empty()) refuse("no fields");
  if (reach < 0 || reach > kMaxReach) refuse("a reach is out of range");
  for (const int step : steps)
    if (step < 1 || step > kMaxStep) refuse("a step is out of range");
  if (threads < 1) refuse("threads must be 1 or more");
  Array<int16_t> out({2, rows, cols});
  int16_t* dst = out.mutable_data();
  {
    py::gil_scoped_release release;
    filters::refine(current.data(), reference.data(), width, height, fields, reach, steps, threads, dst);
  }
  return out;
}

Array<uint8_t> orient(const Array<uint8_t>& samples) {
  const auto [width, height] = size_of(samples);
  Array<uint8_t> out({(height + 7) / 8, (width + 7) / 8});
  filters::orient(samples.data(), width, height, out.mutable_data());
  return out;
}

Array<int16_t> halve(const Array<uint8_t>& samples) {
  const auto [width, height] = size_of(samples);
  Array<int16_t> out({(height + 1) / 2, (width + 1) / 2});
  filters::halve(samples.data(), width, height, out.mutable_data());
  return out;
}

}  // namespace

PYBIND11_MODULE(_filters, m) {
  m.doc() = "C++ kernels of the adaptive filters. Use lvc.enhance.adaptive, not this.";
  m.def("apply", &apply, py::arg("samples").noconvert(), py::arg("planes"), py::arg("terms"),
        py::arg("classes").noconvert(), py::arg("side"), py::arg("coefficients").noconvert(), py::arg("threads"),
        py::arg("plain") = false);
  m.def("features", &features, py::arg("planes"), py::arg("terms"), py::arg("blocks").noconvert(), py::arg("side"));
  m.def("classify", &classify, py::arg("frame").noconvert(), py::arg("before").noconvert(),
        py::arg("after").noconvert(), py::arg("activity"), py::arg("change"));
  m.def("refine", &refine, py::arg("current").noconvert(), py::arg("reference").noconvert(), py::arg("fields"),
        py::arg("reach"), py::arg("steps"), py::arg("threads"));
  m.def("orient", &orient, py::arg("samples").noconvert());
  m.def("halve", &halve, py::arg("samples").noconvert());
  m.attr("RADIUS") = filters::kRadius;
  m.attr("WAYS") = filters::kWays;
  m.attr("VALUE_BITS") = filters::kValueBits;
  m.attr("COEFFICIENT_BITS") = filters::kCoefficientBits;
  m.attr("MAX_COEFFICIENT") = filters::kMaxCoefficient;
  m.attr("MAX_VALUE") = filters::kMaxValue;
}
