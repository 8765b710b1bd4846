// What goes into a completion queue and comes out of it again.
//
// gRPC is not instrumented where we get it, so ThreadSanitizer does not see that an event
// comes after the operation that caused it. Tags tell it: every tag is handed over by
// HandOver and taken back by TakeBack, and nowhere else.
#ifndef ATTND_SERVER_TAG_H_
#define ATTND_SERVER_TAG_H_

#if defined(__SANITIZE_THREAD__)
#define ATTND_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ATTND_TSAN 1
#endif
#endif

#if defined(ATTND_TSAN)
extern "C" void __tsan_acquire(void* address);  // NOLINT(bugprone-reserved-identifier): the sanitizer's name
extern "C" void __tsan_release(void* address);  // NOLINT(bugprone-reserved-identifier): the sanitizer's name
extern "C" void AnnotateIgnoreReadsBegin(const char* file, int line);
extern "C" void AnnotateIgnoreReadsEnd(const char* file, int line);
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
#endif

namespace attnd {

// An operation in progress. Must live until its event.
class Tag {
 public:
  virtual ~Tag() = default;

  // The operation is over; `ok` is what the completion queue says of it. Called on the
  // queue's poller, which must not be blocked.
  virtual void OnEvent(bool ok) = 0;
};

// Call right before starting the operation, on its thread.
inline void* HandOver(Tag* tag) {
#if defined(ATTND_TSAN)
  __tsan_release(tag);
#endif
  return tag;
}

// Call with what the completion queue returned.
inline Tag* TakeBack(void* pointer) {
#if defined(ATTND_TSAN)
  __tsan_acquire(pointer);
#endif
  return static_cast<Tag*>(pointer);
}

// Lives while a thread other than the poller starts an operation: between HandOver and the
// real start, gRPC's headers still write into the call, which ThreadSanitizer would take for
// a race with the event.
class StartingOperation {
 public:
  StartingOperation(const StartingOperation&) = delete;
  StartingOperation& operator=(const StartingOperation&) = delete;
#if defined(ATTND_TSAN)
  StartingOperation() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~StartingOperation() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
#else
  StartingOperation() {}   // NOLINT(modernize-use-equals-default): or the compiler calls it unused
  ~StartingOperation() {}  // NOLINT(modernize-use-equals-default): as above
#endif
};

// A tag that calls a member function of its owner.
template <typename Owner, void (Owner::*kHandler)(bool)>
class MemberTag final : public Tag {
 public:
  explicit MemberTag(Owner* owner) : owner_(owner) {}
  void OnEvent(bool ok) override { (owner_->*kHandler)(ok); }

 private:
  Owner* const owner_;
};

}  // namespace attnd

#endif  // ATTND_SERVER_TAG_H_
