#include "master/spec.h"

#include <charconv>
#include <set>
#include <string_view>

namespace brood::master {
namespace {

constexpr char kKeys[] =
    "popen, ssh=HOST, sudo=USER, socket=HOST:PORT, warm, python, ssh_config, token_file, chdir, "
    "nice, env:NAME, id, dont_write_bytecode";

template <typename Number>
bool parse_number(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

class Parser {
 public:
  explicit Parser(const std::string& text) { spec_.text = text; }

  Result<Spec> run() {
    if (spec_.text.find_first_of(std::string("\n\r\0", 3)) != std::string::npos)
      return wrong("it is more than one line");
    for (size_t begin = 0; begin <= spec_.text.size();) {
      const size_t end = std::min(spec_.text.find("//", begin), spec_.text.size());
      if (Result<void> added = add(spec_.text.substr(begin, end - begin)); !added)
        return added.error();
      begin = end + 2;
    }
    return check();
  }

 private:
  Error wrong(const std::string& why) const { return {"the spec '" + spec_.text + "': " + why}; }

  Result<void> add(const std::string& part) {
    const size_t equals = part.find('=');
    const bool has_value = equals != std::string::npos;
    const std::string key = part.substr(0, equals);
    const std::string value = has_value ? part.substr(equals + 1) : "";
    if (part.empty()) return wrong("a part is empty");
    if (!seen_.insert(key).second) return wrong(key + " is given twice");
    if (key.starts_with("env:")) {
      if (key.size() == 4 || !has_value) return wrong("expected env:NAME=VALUE, not " + part);
      spec_.env.emplace_back(key.substr(4), value);
      return {};
    }
    if (key == "popen" || key == "dont_write_bytecode")  // which is how it is anyway
      return has_value ? Result<void>(wrong(key + " takes no value")) : Result<void>();
    if (key == "warm") {
      if (has_value && value.empty()) return wrong("warm= is empty");
      spec_.environment = value;
      return {};
    }
    return add_value(key, value);
  }

  Result<void> add_value(const std::string& key, const std::string& value) {
    std::string* place = key == "ssh" || key == "sudo" || key == "socket" ? &spec_.target
                         : key == "python"                                ? &spec_.python
                         : key == "ssh_config"                            ? &spec_.ssh_config
                         : key == "token_file"                            ? &spec_.token_file
                         : key == "chdir"                                 ? &spec_.chdir
                         : key == "id"                                    ? &spec_.id
                                                                          : nullptr;
    if (place == nullptr && key != "nice")
      return wrong("'" + key + "' is no key; known are " + kKeys);
    if (value.empty()) return wrong(key + " needs a value");
    if (place != nullptr) {
      *place = value;
      return {};
    }
    if (!parse_number(value, spec_.nice.emplace())) return wrong("nice is an integer");
    return {};
  }

  Result<Spec> check() {
    constexpr std::pair<const char*, Transport> kTransports[] = {
        {"popen", Transport::kPopen},
        {"ssh", Transport::kSsh},
        {"sudo", Transport::kSudo},
        {"socket", Transport::kSocket},
    };
    int chosen = 0;
    for (const auto& [key, transport] : kTransports) {
      if (!seen_.contains(key)) continue;
      spec_.transport = transport;
      ++chosen;
    }
    spec_.warm = seen_.contains("warm");
    if (chosen == 0 && !spec_.warm)
      return wrong(std::string("it does not say how to reach an interpreter: ") + kKeys);
    if (chosen > 1) return wrong("it has more than one way to an interpreter");
    if (spec_.warm && spec_.transport == Transport::kPopen) spec_.transport = Transport::kWarm;
    if (spec_.warm && spec_.transport != Transport::kWarm && spec_.transport != Transport::kSocket)
      return wrong("warm goes with popen or socket");
    if (!spec_.ssh_config.empty() && spec_.transport != Transport::kSsh)
      return wrong("ssh_config goes with ssh=HOST");
    if (spec_.transport == Transport::kSocket)
      if (Result<HostAndPort> address = split_address(spec_.target); !address)
        return wrong(address.error().message);
    return std::move(spec_);
  }

  Spec spec_;
  std::set<std::string> seen_;
};

}  // namespace

std::string Spec::where() const {
  switch (transport) {
    case Transport::kPopen: return "popen";
    case Transport::kWarm: return environment.empty() ? "warm" : "warm=" + environment;
    case Transport::kSsh: return "ssh=" + target;
    case Transport::kSudo: return "sudo=" + target;
    case Transport::kSocket: return "socket=" + target;
  }
  return text;
}

Result<Spec> parse_spec(const std::string& text) { return Parser(text).run(); }

std::vector<std::string> split_words(const std::string& text) {
  std::vector<std::string> words;
  char quote = 0;
  bool inside = false;  // of a word
  for (size_t i = 0; i < text.size(); ++i) {
    const char letter = text[i];
    if (quote == 0 && (letter == ' ' || letter == '\t')) {
      inside = false;
      continue;
    }
    if (!std::exchange(inside, true)) words.emplace_back();
    if (letter == quote)
      quote = 0;
    else if (quote == 0 && (letter == '\'' || letter == '"'))
      quote = letter;
    else if (letter == '\\' && quote != '\'' && i + 1 < text.size())
      words.back() += text[++i];
    else
      words.back() += letter;
  }
  return words;
}

Result<HostAndPort> split_address(const std::string& text) {
  const size_t colon = text.rfind(':');
  uint16_t number = 0;
  if (colon == std::string::npos ||
      !parse_number(std::string_view(text).substr(colon + 1), number) || number == 0)
    return Error{"'" + text + "' is no HOST:PORT, such as localhost:8888"};
  std::string host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (!bracketed && host.find(':') != std::string::npos)
    return Error{"an IPv6 address stands in brackets, such as [::1]:8888"};
  return HostAndPort{host.empty() ? "localhost" : host, text.substr(colon + 1)};
}

}  // namespace brood::master
