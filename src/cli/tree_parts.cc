#include "cli/tree_parts.h"

namespace davit::cli {
namespace {

// The usage line of a command whose words the library does not know.
class WordsFormatter final : public CLI::Formatter {
 public:
  explicit WordsFormatter(std::string words) : words_(std::move(words)) {}
  std::string make_usage(const CLI::App*, std::string name) const override {
    return "Usage: " + name + " [OPTIONS] " + words_ + "\n";
  }

 private:
  const std::string words_;
};

}  // namespace

Ids Words(const CLI::App& command) {
  Ids words = command.remaining();
  std::erase_if(
      words, [first = true](const std::string& word) mutable { return std::exchange(first, false) && word == "--"; });
  return words;
}

CLI::App& Command(CLI::App& parent, const std::string& name, const std::string& help, const std::string& example) {
  CLI::App* command = parent.add_subcommand(name, help);
  command->footer("Example:\n  " + example);
  command->fallthrough();  // --connect, -o and the like work behind the command too
  return *command;
}

void KeepWords(CLI::App& command, const char* words) {
  command.formatter(std::make_shared<WordsFormatter>(words));
  command.fallthrough(false);
  command.prefix_command();
}

CLI::App& Group(CLI::App& app, const std::string& name, const std::string& help) {
  CLI::App* group = app.add_subcommand(name, help);
  group->require_subcommand(1);
  group->fallthrough();
  return *group;
}

CLI::Option& AddList(CLI::App& command, const char* flag, Ids& to, const char* help) {
  return *command.add_option(flag, to, help)->type_size(1)->allow_extra_args(false);
}

std::shared_ptr<Ids> AddNames(CLI::App& command, const char* what, bool required) {
  auto names = std::make_shared<Ids>();
  command.add_option(what, *names, "name, id or beginning of an id")->required(required);
  return names;
}

}  // namespace davit::cli
