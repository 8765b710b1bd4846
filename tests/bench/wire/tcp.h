// Whole messages over TCP: a length of eight bytes and that many bytes there, a third of
// them back.
#ifndef ATTND_TESTS_BENCH_WIRE_TCP_H_
#define ATTND_TESTS_BENCH_WIRE_TCP_H_

#include <cstddef>

namespace attnd::bench {

// A reply has so many times fewer bytes than its request: as output is to query, key, value.
inline constexpr size_t kReplyPart = 3;

// False if the other side is gone.
bool ReadAll(int fd, void* to, size_t size);
bool WriteAll(int fd, const void* from, size_t size);

// Messages leave at once, however small.
void SetNoDelay(int fd);

// A connection to 127.0.0.1:`port`; -1 if there is none.
int ConnectLoopback(int port);

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_WIRE_TCP_H_
