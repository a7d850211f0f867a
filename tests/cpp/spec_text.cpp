#include "spec_text.h"

#include <cctype>
#include <stdexcept>
#include <vector>

namespace pcc {
namespace {

// Words, numbers, quoted strings (with their quotes) and single signs; comments are dropped.
std::vector<std::string> tokens_of(const std::string& text) {
  std::vector<std::string> tokens;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '#') {
      while (i < text.size() && text[i] != '\n') ++i;
    } else if (std::isspace(static_cast<unsigned char>(c))) {
      ++i;
    } else if (c == '"' || c == '\'') {
      const size_t end = text.find(c, i + 1);
      if (end == std::string::npos) throw std::runtime_error("a quote is not closed");
      tokens.push_back('"' + text.substr(i + 1, end - i - 1));
      i = end + 1;
    } else if (std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.') {
      const size_t begin = i;
      while (i < text.size() &&
             (std::isalnum(static_cast<unsigned char>(text[i])) || text[i] == '_' ||
              text[i] == '-' || text[i] == '+' || text[i] == '.'))
        ++i;
      tokens.push_back(text.substr(begin, i - begin));
    } else {
      tokens.emplace_back(1, c);
      ++i;
    }
  }
  return tokens;
}

class Reader {
 public:
  explicit Reader(const std::string& text) : tokens_(tokens_of(text)) {}
  bool done() const { return at_ == tokens_.size(); }
  std::string next() {
    if (done()) throw std::runtime_error("the text ends too early");
    return tokens_[at_++];
  }
  bool accept(const std::string& token) {
    if (done() || tokens_[at_] != token) return false;
    ++at_;
    return true;
  }
  void expect(const std::string& token) {
    if (!accept(token))
      throw std::runtime_error("expected " + token + (done() ? "" : ", got " + tokens_[at_]));
  }

 private:
  std::vector<std::string> tokens_;
  size_t at_ = 0;
};

// A field of a message; value: its default, or the type of a message.
struct Row {
  const char *message, *field, *kind;
  bool repeated;
  const char* value;
};

constexpr Row kRows[] = {
#include "caffe_schema.inc"  // by write_schema.py
};

FieldInfo info_of(const Row& row) {
  FieldInfo info;
  info.repeated = row.repeated;
  const std::string kind = row.kind, value = row.value;
  if (kind == "message") {
    info.is_message = true;
    info.message = value;
  } else if (kind == "bool") {
    info.value = value == "true";
  } else if (kind == "float") {
    info.value = std::stod(value);
  } else if (kind == "int") {
    info.value = static_cast<int64_t>(std::stoll(value));
  } else {
    info.value = value;
  }
  return info;
}

Scalar scalar_of(const FieldInfo& info, const std::string& token) {
  if (std::holds_alternative<bool>(info.value)) return token == "true";
  if (std::holds_alternative<int64_t>(info.value)) return static_cast<int64_t>(std::stoll(token));
  if (std::holds_alternative<double>(info.value)) return std::stod(token);
  return token[0] == '"' ? token.substr(1) : token;
}

void read_fields(Reader& reader, Attributes& into, bool whole) {
  while (whole ? !reader.done() : !reader.accept("}")) {
    const std::string name = reader.next();
    const FieldInfo& info = Schema::global().field(into.message(), name);
    if (info.is_message) {
      reader.accept(":");
      reader.expect("{");
      read_fields(reader, into.append_message(name), false);
    } else {
      reader.expect(":");
      into.append(name, scalar_of(info, reader.next()));
    }
  }
}

}  // namespace

void load_schema() {
  if (!Schema::global().empty()) return;
  for (const Row& row : kRows) Schema::global().add(row.message, row.field, info_of(row));
}

LayerSpec parse_layer(const std::string& text) {
  load_schema();
  LayerSpec spec;
  Reader reader(text);
  read_fields(reader, spec.attributes, true);
  spec.name = spec.attributes.get_string("name");
  spec.type = spec.attributes.get_string("type");
  spec.bottoms = spec.attributes.strings("bottom");
  spec.tops = spec.attributes.strings("top");
  return spec;
}

}  // namespace pcc
