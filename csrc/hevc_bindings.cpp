// Python bindings of the packer of HEVC streams, and nothing else.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <tuple>

#include "hevc/packer.h"

namespace py = pybind11;
namespace hevc = lvc::hevc;

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

constexpr py::ssize_t kSlots = py::ssize_t{1} << hevc::kSlotBits;
constexpr py::ssize_t kWeights = py::ssize_t{hevc::kSets} * hevc::kSetSize * hevc::kInputs;

hevc::State state_of(const Array<uint16_t>& chance, const Array<uint8_t>& count, const Array<int32_t>& weights) {
  if (chance.size() != kSlots || count.size() != kSlots || weights.size() != kWeights)
    throw std::invalid_argument("the state is of another size");
  hevc::State state;
  for (py::ssize_t i = 0; i < kSlots; ++i)
    state.slots[static_cast<size_t>(i)] = static_cast<uint32_t>(chance.data()[i]) << 16 | count.data()[i];
  for (py::ssize_t i = 0; i < kWeights; ++i) {
    if (weights.data()[i] < -hevc::kMaxWeight || weights.data()[i] > hevc::kMaxWeight)
      throw std::invalid_argument("a weight is out of range");
    state.weights[static_cast<size_t>(i)] = weights.data()[i];
  }
  return state;
}

py::bytes bytes_of(const hevc::Bytes& bytes) {
  return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

std::string_view view_of(const py::bytes& data) { return static_cast<std::string_view>(data); }

}  // namespace

PYBIND11_MODULE(_hevc, m) {
  py::register_exception<hevc::Unsupported>(m, "UnsupportedError", PyExc_ValueError);
  py::register_exception<hevc::Corrupt>(m, "CorruptError", PyExc_ValueError);
  m.attr("SLOTS") = kSlots;
  m.attr("WEIGHTS") = kWeights;
  py::class_<hevc::State>(m, "State", py::module_local())
      .def(py::init<>())
      .def(py::init(&state_of), py::arg("chance"), py::arg("count"), py::arg("weights"));
  py::class_<hevc::Side>(m, "Side", py::module_local())
      .def(py::init([](const hevc::State& state, int count_limit, int weight_rate, size_t most_samples) {
             if (count_limit < hevc::kLeastCountLimit || count_limit > hevc::kMaxCount || weight_rate < 0 ||
                 weight_rate > 1024)
               throw std::invalid_argument("a rate is out of range");
             return std::make_unique<hevc::Side>(state, count_limit, weight_rate, most_samples);
           }),
           py::arg("state"), py::arg("count_limit"), py::arg("weight_rate"), py::arg("most_samples"))
      .def("reset", &hevc::Side::reset)
      .def("forget", &hevc::Side::forget)
      .def("pack",
           [](hevc::Side& side, const py::bytes& data) {
             const std::string_view view = view_of(data);
             hevc::Bytes out;
             {
               py::gil_scoped_release release;
               out = side.pack(reinterpret_cast<const uint8_t*>(view.data()), view.size());
             }
             return bytes_of(out);
           })
      .def("unpack",
           [](hevc::Side& side, const py::bytes& data, size_t most) {
             const std::string_view view = view_of(data);
             hevc::Bytes out;
             {
               py::gil_scoped_release release;
               out = side.unpack(reinterpret_cast<const uint8_t*>(view.data()), view.size(), most);
             }
             return bytes_of(out);
           })
      .def("arrays",
           [](const hevc::Side& side) {
             const hevc::State& state = side.state();
             Array<uint16_t> chance(kSlots);
             Array<uint8_t> count(kSlots);
             for (py::ssize_t i = 0; i < kSlots; ++i) {
               chance.mutable_data()[i] = static_cast<uint16_t>(state.slots[static_cast<size_t>(i)] >> 16);
               count.mutable_data()[i] = static_cast<uint8_t>(state.slots[static_cast<size_t>(i)]);
             }
             return std::tuple{chance, count, Array<int32_t>(kWeights, state.weights.data())};
           })
      .def("bits", [](const hevc::Side& side) {
        py::dict rows;
        for (size_t i = 0; i < hevc::kElements; ++i) {
          const auto& count = side.counts()[i];
          rows[hevc::kElementNames[i]] = std::tuple{static_cast<int64_t>(count.bins), count.before, count.after};
        }
        return rows;
      });
}
