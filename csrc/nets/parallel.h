// Work shared by threads that are kept. No Python.
#ifndef LVC_NETS_PARALLEL_H
#define LVC_NETS_PARALLEL_H

#include <functional>

namespace lvc::nets {

// Calls work(first), work(first + 1), ... work(count - 1), in any order, on up to `threads` threads, of which the
// caller is one; returns when all are done. What they compute must not depend on the order. Several callers may
// come at the same time: those that find the threads busy work alone. `work` must not throw.
void parallel(int count, int threads, const std::function<void(int)>& work);

}  // namespace lvc::nets

#endif  // LVC_NETS_PARALLEL_H
