// Lets a test do less where a sanitizer makes everything slower.
#ifndef ATTND_TESTS_SUPPORT_SANITIZERS_H_
#define ATTND_TESTS_SUPPORT_SANITIZERS_H_

namespace attnd {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_SANITIZERS_H_
