#include "server/health.h"

namespace attnd {

bool Health::Knows(std::string_view service) {
  return service.empty() || service == "attnd.v1.AttentionService" || service == "attnd.v1.ServerService" ||
         service == "attnd.v1.WeightsService";
}

void Health::SetServing(bool serving) {
  const MutexLock lock(mutex_);
  serving_ = serving;
  NotifyAll();
}

bool Health::serving() const {
  const MutexLock lock(mutex_);
  return serving_;
}

void Health::EndWatches() {
  const MutexLock lock(mutex_);
  ended_ = true;
  NotifyAll();
}

void Health::Add(HealthWatcher* watcher) {
  const MutexLock lock(mutex_);
  watchers_.insert(watcher);
  watcher->Notify(serving_, ended_);
}

void Health::Remove(HealthWatcher* watcher) {
  const MutexLock lock(mutex_);
  watchers_.erase(watcher);
}

void Health::NotifyAll() {
  for (HealthWatcher* watcher : watchers_) watcher->Notify(serving_, ended_);
}

}  // namespace attnd
