// Where a load test's requests get weights and cases from.
#ifndef ATTND_CLIENT_ATTNCTL_LOAD_SOURCES_H_
#define ATTND_CLIENT_ATTNCTL_LOAD_SOURCES_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/load/build_works.h"

namespace attnd::attnctl {

// Thread-compatible.
class LoadSources {
 public:
  // `servers` are those that the load goes to, at least one; they must outlive it.
  explicit LoadSources(const std::vector<std::unique_ptr<Client>>* servers) : servers_(servers) {}

  // Refers to this object.
  load::WorkSources Get();

 private:
  // By id or alias as the first server describes them; of a file the first set that it has,
  // which all servers get.
  absl::StatusOr<load::NamedWorkWeights> FindWeights(const std::string& weights);
  absl::StatusOr<load::NamedWorkWeights> PushFile(const std::string& path);
  absl::StatusOr<load::NamedWorkWeights> AskServer(const std::string& name);
  absl::StatusOr<load::CaseRequest> ReadCase(const load::WorkShape& shape);

  const std::vector<std::unique_ptr<Client>>* servers_;
  std::map<std::string, load::NamedWorkWeights> known_;
};

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_LOAD_SOURCES_H_
