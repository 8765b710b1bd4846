// Whether this server wants requests: the one truth behind grpc.health.v1 and /readyz.
#ifndef ATTND_SERVER_HEALTH_H_
#define ATTND_SERVER_HEALTH_H_

#include <set>
#include <string_view>

#include "core/runtime/mutex.h"

namespace attnd {

// Told of every change. Notify is called with the registry's lock held: it must not block
// and must not call the registry.
class HealthWatcher {
 public:
  virtual ~HealthWatcher() = default;
  // `serving` is how it is now; after `ended` nothing will follow.
  virtual void Notify(bool serving, bool ended) = 0;
};

// Thread-safe. Starts out not serving.
class Health {
 public:
  // Whether `service` is one whose health is known: "" (the server), or a service of the
  // contract that is served.
  static bool Knows(std::string_view service);

  void SetServing(bool serving) ATTND_EXCLUDES(mutex_);
  [[nodiscard]] bool serving() const ATTND_EXCLUDES(mutex_);

  // Ends all watches, and those that begin from now on.
  void EndWatches() ATTND_EXCLUDES(mutex_);

  // Notifies `watcher` at once, then of every change until Remove. It must live until then.
  void Add(HealthWatcher* watcher) ATTND_EXCLUDES(mutex_);
  void Remove(HealthWatcher* watcher) ATTND_EXCLUDES(mutex_);

 private:
  void NotifyAll() ATTND_REQUIRES(mutex_);

  mutable Mutex mutex_;
  bool serving_ ATTND_GUARDED_BY(mutex_) = false;
  bool ended_ ATTND_GUARDED_BY(mutex_) = false;
  std::set<HealthWatcher*> watchers_ ATTND_GUARDED_BY(mutex_);
};

}  // namespace attnd

#endif  // ATTND_SERVER_HEALTH_H_
