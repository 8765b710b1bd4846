#include "client/attnctl/case_flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <vector>

#include "client/attnctl/weights_commands.h"

namespace attnd::attnctl {

CLI::Option* AddOption(const OptionRule& rule, const std::string& flag, CLI::App* command, FlagValues* values) {
  const auto add = [values, name = std::string(rule.name)](const std::string& value) {
    (*values)[name].push_back(value);
  };
  CLI::Option* option = nullptr;
  if (rule.repeats) {
    const auto add_all = [add](const std::vector<std::string>& all) { std::for_each(all.begin(), all.end(), add); };
    option = command->add_option_function<std::vector<std::string>>(flag, add_all, rule.help)->expected(1);
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  } else {
    option = command->add_option_function<std::string>(flag, add, rule.help);
  }
  option->type_name(rule.value)->group(rule.group);
  if (rule.lone) option->expected(0, 1);
  return option;
}

void AddWeightsChoice(CLI::App* command, WeightsChoice* choice) {
  constexpr char kWeights[] = "Weights";
  command
      ->add_option("--weights", choice->weights,
                   "content id or alias of weights that the server has; or a .safetensors\n"
                   "file, or a folder of them, sent with the request")
      ->type_name("ID|ALIAS|PATH")
      ->group(kWeights);
  command->add_option("--layer", choice->layer, "which layer of the file")->type_name("N")->group(kWeights);
  command->add_option("--name", choice->name, "which weights of the file, as attnctl weights push calls them")
      ->type_name("ALIAS")
      ->group(kWeights);
  AddMapping(command, &choice->mapping)->group(kWeights);
}

}  // namespace attnd::attnctl
