#include "core/runtime/cpu_count.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace attnd {
namespace {

namespace fs = std::filesystem;

int CpusInMask() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

// A made-up machine below a directory of its own.
class CpuCountTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::path(testing::TempDir()) / "cpu_count_XXXXXX").string();
    root_ = mkdtemp(name.data());
  }
  void TearDown() override { fs::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) const {
    const fs::path file = fs::path(root_ + path);
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void InV2Group(const std::string& path) const { Write("/proc/self/cgroup", "0::" + path + "\n"); }

  // The quota part never raises the count above the affinity mask's.
  void ExpectQuota(int cpus) const { EXPECT_EQ(AvailableCpus(root_), std::min(cpus, CpusInMask())); }
  void ExpectNoQuota() const { EXPECT_EQ(AvailableCpus(root_), CpusInMask()); }

  std::string root_;
};

TEST_F(CpuCountTest, AnEmptyMachineHasTheCpusOfTheMask) { ExpectNoQuota(); }

TEST_F(CpuCountTest, ThisMachineHasAtLeastOne) {
  EXPECT_GE(AvailableCpus(), 1);
  EXPECT_LE(AvailableCpus(), CpusInMask());
}

TEST_F(CpuCountTest, TheMaskOfTheThreadCounts) {
  std::thread([this] {
    cpu_set_t all;
    ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &all)) {
        CPU_SET(cpu, &one);
        break;
      }
    }
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    EXPECT_EQ(AvailableCpus(root_), 1);
  }).join();
}

TEST_F(CpuCountTest, V2QuotaOfTheOwnGroupCounts) {
  InV2Group("/app");
  Write("/sys/fs/cgroup/app/cpu.max", "100000 100000\n");
  ExpectQuota(1);
}

TEST_F(CpuCountTest, V2QuotaIsRoundedUp) {
  InV2Group("/app");
  Write("/sys/fs/cgroup/app/cpu.max", "100001 100000\n");
  ExpectQuota(2);
}

TEST_F(CpuCountTest, AFractionOfACpuIsOne) {
  InV2Group("/app");
  Write("/sys/fs/cgroup/app/cpu.max", "1000 100000\n");
  ExpectQuota(1);
}

TEST_F(CpuCountTest, V2PeriodIsRead) {
  InV2Group("/app");
  Write("/sys/fs/cgroup/app/cpu.max", "40000 20000\n");
  ExpectQuota(2);
  Write("/sys/fs/cgroup/app/cpu.max", "200000 1000000\n");
  ExpectQuota(1);
}

TEST_F(CpuCountTest, V2MaxIsNoLimit) {
  InV2Group("/app");
  Write("/sys/fs/cgroup/app/cpu.max", "max 100000\n");
  ExpectNoQuota();
}

TEST_F(CpuCountTest, TheSmallestQuotaOfTheAncestorsCounts) {
  InV2Group("/kube/pod/app");
  Write("/sys/fs/cgroup/kube/pod/app/cpu.max", "max 100000\n");
  Write("/sys/fs/cgroup/kube/cpu.max", "100000 100000\n");
  ExpectQuota(1);
  Write("/sys/fs/cgroup/kube/pod/app/cpu.max", "400000 100000\n");
  ExpectQuota(1);
  Write("/sys/fs/cgroup/kube/cpu.max", "800000 100000\n");
  ExpectQuota(4);
}

TEST_F(CpuCountTest, InAContainerTheMountIsTheOwnGroup) {
  InV2Group("/");
  Write("/sys/fs/cgroup/cpu.max", "100000 100000\n");
  ExpectQuota(1);
}

TEST_F(CpuCountTest, AHostPathThatIsNotMountedHereStillFindsTheMountsQuota) {
  InV2Group("/docker/0123456789abcdef");
  Write("/sys/fs/cgroup/cpu.max", "100000 100000\n");
  ExpectQuota(1);
}

TEST_F(CpuCountTest, V1QuotaCounts) {
  Write("/proc/self/cgroup", "5:memory:/app\n3:cpu,cpuacct:/app\n1:name=systemd:/\n");
  Write("/sys/fs/cgroup/cpu/app/cpu.cfs_quota_us", "50000\n");
  Write("/sys/fs/cgroup/cpu/app/cpu.cfs_period_us", "50000\n");
  ExpectQuota(1);
}

TEST_F(CpuCountTest, V1QuotaIsFoundUnderTheJoinedName) {
  Write("/proc/self/cgroup", "3:cpu,cpuacct:/\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  ExpectQuota(1);
}

TEST_F(CpuCountTest, V1MinusOneIsNoLimit) {
  Write("/proc/self/cgroup", "3:cpu:/app\n");
  Write("/sys/fs/cgroup/cpu/app/cpu.cfs_quota_us", "-1\n");
  Write("/sys/fs/cgroup/cpu/app/cpu.cfs_period_us", "100000\n");
  ExpectNoQuota();
}

TEST_F(CpuCountTest, V1ParentQuotaCounts) {
  Write("/proc/self/cgroup", "3:cpu:/kube/app\n");
  Write("/sys/fs/cgroup/cpu/kube/cpu.cfs_quota_us", "100000\n");
  Write("/sys/fs/cgroup/cpu/kube/cpu.cfs_period_us", "100000\n");
  ExpectQuota(1);
}

TEST_F(CpuCountTest, V1ControllersOfOtherNamesDoNotCount) {
  Write("/proc/self/cgroup", "3:cpuset:/app\n4:cpuacct:/app\n");
  Write("/sys/fs/cgroup/cpu/app/cpu.cfs_quota_us", "100000\n");
  Write("/sys/fs/cgroup/cpu/app/cpu.cfs_period_us", "100000\n");
  ExpectNoQuota();
}

TEST_F(CpuCountTest, NonsenseIsNoLimit) {
  for (const char* text : {"", "\n", "100000", "abc def\n", "0 100000\n", "-5 100000\n", "100000 0\n", "nan 1\n"}) {
    SCOPED_TRACE(text);
    InV2Group("/app");
    Write("/sys/fs/cgroup/app/cpu.max", text);
    ExpectNoQuota();
  }
  Write("/proc/self/cgroup", "no colons here\n::\n:\n");
  ExpectNoQuota();
}

TEST_F(CpuCountTest, AHugeQuotaDoesNotOverflow) {
  InV2Group("/app");
  Write("/sys/fs/cgroup/app/cpu.max", "9223372036854775807 1\n");
  ExpectNoQuota();
}

}  // namespace
}  // namespace attnd
