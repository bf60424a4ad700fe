#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace lvc::nets {

namespace {

constexpr int kMaxThreads = 64;

int process() {
#if defined(_WIN32)
  return 0;
#else
  return static_cast<int>(getpid());
#endif
}

// Threads that wait for work. Never destroyed: they may still wait while the process ends.
class Pool {
 public:
  const int owner = process();

  // False if somebody else has the threads.
  bool run(int count, int threads, const std::function<void(int)>& work) {
    const std::unique_lock<std::mutex> mine(busy_, std::try_to_lock);
    if (!mine) return false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      grow(threads - 1);
      work_ = &work;
      count_ = count;
      places_ = threads - 1;
      next_ = 0;
    }
    start_.notify_all();
    take(count, work);
    std::unique_lock<std::mutex> lock(mutex_);
    places_ = 0;  // a thread that wakes up now finds nothing left to do
    done_.wait(lock, [&] { return working_ == 0; });
    return true;
  }

 private:
  void take(int count, const std::function<void(int)>& work) {
    for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count;) work(i);
  }

  void grow(int wanted) {
    try {
      for (; threads_ < std::min(wanted, kMaxThreads); ++threads_) std::thread([this] { wait(); }).detach();
    } catch (const std::system_error&) {
      // The system gives no more threads; those that there are do it all.
    }
  }

  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      start_.wait(lock, [&] { return places_ > 0; });
      --places_;
      ++working_;
      const int count = count_;
      const std::function<void(int)>& work = *work_;
      lock.unlock();
      take(count, work);
      lock.lock();
      if (--working_ == 0) done_.notify_one();
    }
  }

  std::mutex busy_, mutex_;
  std::condition_variable start_, done_;
  std::atomic<int> next_{0};
  const std::function<void(int)>* work_ = nullptr;
  int count_ = 0, places_ = 0, working_ = 0, threads_ = 0;
};

// Threads do not live on in a child process, so that gets a pool of its own.
Pool& pool() {
  static std::atomic<Pool*> current{nullptr};
  Pool* found = current.load();
  while (found == nullptr || found->owner != process()) {
    Pool* fresh = new Pool;
    if (current.compare_exchange_strong(found, fresh)) return *fresh;
    delete fresh;  // another thread was quicker; `found` is its pool
  }
  return *found;
}

}  // namespace

void parallel(int count, int threads, const std::function<void(int)>& work) {
  threads = std::min(threads, count);
  if (threads > 1 && pool().run(count, threads, work)) return;
  for (int i = 0; i < count; ++i) work(i);
}

}  // namespace lvc::nets
