// The part of heatmap/command.h that reads the command line.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <set>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "client/attnctl/case_flags.h"
#include "client/attnctl/heatmap/command.h"
#include "client/attnctl/option_rules.h"

namespace attnd::attnctl {
namespace {

constexpr char kPicture[] = "Picture";
constexpr char kShown[] = "What is shown";
constexpr char kFile[] = "Weights of a file";
constexpr char kCase[] = "Or a case, which a server computes";

constexpr char kAbout[] =
    "A file is what attnctl attend --output wrote, or weights of any model: [q, k], [heads, q, k],\n"
    "[layers, heads, q, k], [batch, heads, q, k] or [layers, batch, heads, q, k]. Which keys were\n"
    "hidden is known of a tensor 'visible' beside them, or said by --causal, --zeros or --length.\n"
    "First try: attnctl heatmap --example cat-sat --output cat-sat.png";

void AddPicture(CLI::App* command, HeatmapFlags* flags) {
  command->add_option("--output", flags->output, "the picture; its ending says what it is")
      ->type_name("FILE.png|.svg|.html")
      ->group(kPicture);
  command->add_option("--theme", flags->theme, "of a .png: light (default) or dark")
      ->type_name("WORD")
      ->group(kPicture);
  command->add_option("--title", flags->options.title, "a line above")->type_name("TEXT")->group(kPicture);
  command->add_option("--tokens", flags->tokens, "names of the queries, and of as many keys: The,cat,sat")
      ->type_name("WORDS")
      ->group(kPicture);
  command->add_option("--tokens-file", flags->tokens_file, "likewise, a line each")->type_name("FILE")->group(kPicture);
  command->add_option("--key-tokens", flags->key_tokens, "names of the keys")->type_name("WORDS")->group(kPicture);
  command->add_option("--columns", flags->options.columns, "heads side by side")->type_name("N")->group(kPicture);
  command
      ->add_option("--cells", flags->options.cells,
                   "most cells of a head, down and across, 1 to 512 (default); what is longer\n"
                   "is shown by means of cells")
      ->type_name("N")
      ->group(kPicture);
  command->add_option("--save", flags->save, "write the numbers that are drawn, too")
      ->type_name("FILE.npy")
      ->group(kPicture);
}

void AddShown(CLI::App* command, HeatmapFlags* flags) {
  command->add_option("--heads", flags->heads, "which heads, counted from 0 (default all)")
      ->type_name("LIST")
      ->group(kShown);
  command->add_option("--layers", flags->layers, "which layers of a file (default all)")
      ->type_name("LIST")
      ->group(kShown);
  command->add_option("--batch", flags->options.batch, "which batch entry or packed sequence (default 0)")
      ->type_name("N")
      ->group(kShown);
}

void AddFile(CLI::App* command, HeatmapFlags* flags) {
  command->add_option("--from", flags->file.path, "attention weights")
      ->type_name("FILE.npy|.safetensors")
      ->group(kFile);
  command->add_option("--tensor", flags->file.tensor, "their name (default weights, attn, or the only one)")
      ->type_name("NAME")
      ->group(kFile);
  command->add_option("--length", flags->file.length, "queries and keys from the Nth on, counted from 0, are padding")
      ->type_name("N")
      ->group(kFile);
  command->add_option("--zeros", flags->zeros, "what weights of 0 are: weights (default), or hidden keys")
      ->type_name("WORD")
      ->group(kFile);
  command
      ->add_flag("--rollout", flags->file.rollout,
                 "attention rollout through the layers instead of heads (arXiv 2005.00928)")
      ->group(kFile);
}

void AddCase(CLI::App* command, HeatmapFlags* flags) {
  CaseSource& source = flags->source;
  command->add_option("--input", source.input, "a case, as of attnctl attend --input")
      ->type_name("CASE.safetensors")
      ->group(kCase);
  command->add_option("--example", source.example, "a built-in case, as of attnctl attend or multihead: cat-sat, ...")
      ->type_name("NAME")
      ->group(kCase);
  CLI::Option* multihead =
      command->add_flag("--multihead", flags->multihead, "it is one of attnctl multihead")->group(kCase);
  std::set<std::string> added;
  for (const CaseKind kind : {CaseKind::kAttend, CaseKind::kMultiHead}) {
    for (const OptionRule& rule : OptionRules(kind)) {
      if (std::string_view(rule.group) == kOutputs || !added.insert(CaseFlagName(rule)).second) continue;
      CLI::Option* option = AddOption(rule, CaseFlagName(rule), command, &source.flags);
      if (kind == CaseKind::kMultiHead) option->needs(multihead);
    }
  }
  AddWeightsChoice(command, &source.weights);
}

}  // namespace

std::string CaseFlagName(const OptionRule& rule) {
  return std::string_view(rule.name) == "heads" ? "--query-heads" : FlagName(rule);
}

void AddHeatmap(CLI::App* app, HeatmapFlags* flags) {
  CLI::App* command = app->add_subcommand("heatmap", "draw attention weights, of a file or computed by a server");
  AddPicture(command, flags);
  AddShown(command, flags);
  AddFile(command, flags);
  AddCase(command, flags);
  command->footer(kAbout);
}

}  // namespace attnd::attnctl
