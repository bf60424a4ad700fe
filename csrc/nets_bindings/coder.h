// Coders written in Python.
#ifndef LVC_NETS_BINDINGS_CODER_H
#define LVC_NETS_BINDINGS_CODER_H

#include <algorithm>

#include "common.h"
#include "nets/coder.h"

// An entropy coder in Python, as of lvc.entropy.symbols.DirectCoder: its method, and its two distributions.
class PyCoder : public nets::Coder {
 public:
  PyCoder(const py::function& code, const py::object& flags, const py::object& values)
      : code_(code), flags_(flags), values_(values) {}

  void code(bool flags, const int32_t* values, const uint8_t* index, size_t n, int32_t* out) override {
    using Result = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;
    const py::ssize_t size = static_cast<py::ssize_t>(n);
    py::object given = py::none();
    if (values != nullptr) given = Array<int32_t>(size, values);
    const Result result = Result::ensure(code_(given, Array<uint8_t>(size, index), flags ? flags_ : values_));
    if (!result) throw py::error_already_set();
    require(result.size() == size, "a coder gave back another number of integers");
    std::copy(result.data(), result.data() + n, out);
  }

 private:
  const py::function& code_;
  const py::object &flags_, &values_;
};

#endif  // LVC_NETS_BINDINGS_CODER_H
