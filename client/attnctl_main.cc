#include <iostream>

#include "client/attnctl/cli.h"
#include "core/runtime/malloc_tuning.h"

int main(int argc, char** argv) {
  attnd::TuneMalloc();
  return attnd::attnctl::Run(argc, argv, std::cout, std::cerr);
}
