// What the files of bindings share. Shapes and types are checked in them once more, so that no call can read or write
// outside of an array.
#ifndef LVC_NETS_BINDINGS_H
#define LVC_NETS_BINDINGS_H

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "nets/kernels.h"

namespace py = pybind11;
namespace nets = lvc::nets;

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

inline void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

inline const nets::Kernels& kernels_named(const std::string& name) {
  const nets::Kernels* kernels = nets::find_kernels(name.c_str());
  require(kernels != nullptr, "no such kernels here");
  return *kernels;
}

template <typename T>
Array<T> like(const py::array& array) {
  return Array<T>(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
}

void bind_layers(py::module_& m);
void bind_planes(py::module_& m);
void bind_symbols(py::module_& m);
void bind_flags(py::module_& m);
void bind_motion(py::module_& m);

#endif  // LVC_NETS_BINDINGS_H
