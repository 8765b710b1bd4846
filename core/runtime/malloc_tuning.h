// glibc malloc settings for programs that move tensors.
#ifndef ATTND_CORE_RUNTIME_MALLOC_TUNING_H_
#define ATTND_CORE_RUNTIME_MALLOC_TUNING_H_

#include <malloc.h>

#include <limits>

namespace attnd {

// Keeps freed memory in the process, in one arena, so that a request finds pages that are
// already resident: with glibc's defaults every large message is mapped, faulted in page
// by page and unmapped again, which costs several times the copy itself.
//
// Memory is therefore not returned to the system by free(); malloc_trim(0) still returns
// it. Call first in main, before any thread exists. Does nothing on other C libraries.
// A setting that is refused is left at its default: slower, still correct.
inline void TuneMalloc() {
#if defined(__GLIBC__)
  // NOLINTBEGIN(concurrency-mt-unsafe): called before there are threads
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
  mallopt(M_ARENA_MAX, 1);
  // NOLINTEND(concurrency-mt-unsafe)
#endif
}

}  // namespace attnd

#endif  // ATTND_CORE_RUNTIME_MALLOC_TUNING_H_
