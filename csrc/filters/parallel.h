// Work on independent rows by several threads.
#ifndef LVC_FILTERS_PARALLEL_H
#define LVC_FILTERS_PARALLEL_H

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

namespace lvc::filters {

template <typename Work>
void in_parallel(int count, int threads, const Work& work) {
  std::atomic<int> next{0};
  const auto run = [&] {
    for (int i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::thread> others;
  try {
    for (int i = 1; i < std::min(threads, count); ++i) others.emplace_back(run);
  } catch (const std::exception&) {
    // The system gives no more threads; those that there are do it all.
  }
  run();
  for (std::thread& other : others) other.join();
}

}  // namespace lvc::filters

#endif  // LVC_FILTERS_PARALLEL_H
