#include <iostream>

#include "client/attnctl/cli.h"
#include "core/runtime/lock_tuning.h"
#include "core/runtime/malloc_tuning.h"

int main(int argc, char** argv) {
  attnd::TuneMalloc();
  attnd::TuneLocks();
  return attnd::attnctl::Run(argc, argv, std::cout, std::cerr);
}
