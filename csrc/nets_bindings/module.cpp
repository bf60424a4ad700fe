// The module lvc._nets: bindings of the integer networks and block transforms.
#include "common.h"

PYBIND11_MODULE(_nets, m) {
  m.doc() = "C++ kernels of integer networks and block transforms. Use lvc.ops.intnet and lvc.ops.blocktransform.";
  bind_layers(m);
  bind_planes(m);
  bind_symbols(m);
  bind_flags(m);
  bind_motion(m);
}
