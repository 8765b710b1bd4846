#include <gtest/gtest.h>

#include <string>

#include "server/address.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::string RoundTrip(const std::string& text) {
  const auto address = ParseAddress(text);
  return address.ok() ? address->ToString() : std::string(address.status().message());
}

TEST(ServerAddressTest, ReadsWhatItPrints) {
  for (const char* text : {"127.0.0.1:50051", "localhost:0", "[::1]:65535", "unix:relative/path", "unix:/run/x.sock"}) {
    EXPECT_EQ(RoundTrip(text), text);
  }
  EXPECT_EQ(RoundTrip("unix:///run/x.sock"), "unix:/run/x.sock");
}

TEST(ServerAddressTest, RefusesWhatIsNone) {
  for (const char* text : {"", ":50051", "host", "::1:50051", "a:b:1", "unix:", "[]:1"}) {
    EXPECT_THAT(ParseAddress(text), IsError(kInvalid, "is no address")) << text;
  }
  for (const char* text : {"host:", "host:-1", "host:65536", "host:1x", "host:99999999999999999999"}) {
    EXPECT_THAT(ParseAddress(text), IsError(kInvalid, "is no port")) << text;
  }
  EXPECT_THAT(ParseAddress("unix:/" + std::string(200, 'x')), IsError(kInvalid, "at most 107 bytes"));
}

TEST(ServerAddressTest, KnowsWhatOnlyThisMachineReaches) {
  for (const char* text : {"127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "unix:x"}) {
    EXPECT_TRUE(IsLocal(*ParseAddress(text)).value()) << text;
  }
  for (const char* text : {"0.0.0.0:1", "[::]:1", "192.0.2.1:1"}) {
    EXPECT_FALSE(IsLocal(*ParseAddress(text)).value()) << text;
  }
}

TEST(ServerAddressTest, ReachesWildcardsThroughLoopback) {
  EXPECT_EQ(ForLocalClient(*ParseAddress("0.0.0.0:7")).ToString(), "127.0.0.1:7");
  EXPECT_EQ(ForLocalClient(*ParseAddress("[::]:7")).ToString(), "[::1]:7");
  EXPECT_EQ(ForLocalClient(*ParseAddress("127.0.0.1:7")).ToString(), "127.0.0.1:7");
}

}  // namespace
}  // namespace attnd
