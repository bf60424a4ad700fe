// Work on a grid by several threads, each cell after those that it depends on. No Python.
#ifndef LVC_MOTION_PARALLEL_H
#define LVC_MOTION_PARALLEL_H

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace lvc::motion {

// Calls work(row, col) for every cell of a grid. A cell starts after its left neighbour and, with lag > 0, after
// the cell `lag` - 1 columns further right in the row above (lag 2: the one above right). So what the cells
// compute depends neither on the number of threads nor on their timing. `work` must not throw.
template <typename Work>
void wavefront(int rows, int cols, int lag, int threads, const Work& work) {
  threads = std::min(threads, rows);
  if (threads <= 1) {
    for (int row = 0; row < rows; ++row)
      for (int col = 0; col < cols; ++col) work(row, col);
    return;
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<int> done(static_cast<size_t>(rows), 0);
  int next_row = 0;
  const auto run = [&] {
    std::unique_lock<std::mutex> lock(mutex);
    while (next_row < rows) {
      const int row = next_row++;  // rows start in order, so the row above always has a thread
      for (int col = 0; col < cols; ++col) {
        if (row > 0 && lag > 0) {
          const int needed = std::min(col + lag, cols);
          changed.wait(lock, [&] { return done[static_cast<size_t>(row - 1)] >= needed; });
        }
        lock.unlock();
        work(row, col);
        lock.lock();
        done[static_cast<size_t>(row)] = col + 1;
        changed.notify_all();
      }
    }
  };
  std::vector<std::thread> others;
  others.reserve(static_cast<size_t>(threads - 1));
  try {
    for (int i = 1; i < threads; ++i) others.emplace_back(run);
  } catch (const std::exception&) {
    // The system gives no more threads; those that there are do it all.
  }
  run();
  for (std::thread& other : others) other.join();
}

}  // namespace lvc::motion

#endif  // LVC_MOTION_PARALLEL_H
