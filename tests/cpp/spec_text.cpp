#include "spec_text.h"

#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace pcc {
namespace {

// Words, numbers, quoted strings (with their quotes) and single signs; comments are dropped.
std::vector<std::string> tokens_of(const std::string& text) {
  std::vector<std::string> tokens;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    const bool slashes = text.compare(i, 2, "//") == 0;
    if (slashes || c == '#') {
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

struct ProtoField {
  std::string message, type, name, value;
  bool repeated = false;
};

// The parts of a .proto file that matter here: fields, and the first value of each enum
// ("Message.Enum" or "Enum").
struct Proto {
  std::vector<ProtoField> fields;
  std::map<std::string, std::string> enums;
};

void read_enum(Reader& reader, const std::string& scope, Proto& proto) {
  const std::string name = scope + reader.next();
  reader.expect("{");
  proto.enums[name] = reader.next();
  while (!reader.accept("}")) reader.next();
}

void read_message(Reader& reader, Proto& proto) {
  const std::string message = reader.next();
  reader.expect("{");
  while (!reader.accept("}")) {
    const std::string label = reader.next();
    if (label == "enum") {
      read_enum(reader, message + ".", proto);
      continue;
    }
    ProtoField field{.message = message, .type = reader.next(), .name = reader.next(), .value = ""};
    field.repeated = label == "repeated";
    while (!reader.accept(";"))
      if (reader.next() == "default") {
        reader.expect("=");
        field.value = reader.next();
      }
    proto.fields.push_back(std::move(field));
  }
}

Proto read_proto(const std::string& text) {
  Reader reader(text);
  Proto proto;
  while (!reader.done()) {
    const std::string word = reader.next();
    if (word == "enum") {
      read_enum(reader, "", proto);
    } else if (word == "message") {
      read_message(reader, proto);
    } else {
      while (!reader.accept(";")) reader.next();
    }
  }
  return proto;
}

FieldInfo info_of(const ProtoField& field, const Proto& proto) {
  FieldInfo info;
  info.repeated = field.repeated;
  const std::string& type = field.type;
  const std::string text =
      !field.value.empty() && field.value[0] == '"' ? field.value.substr(1) : field.value;
  const auto inner = proto.enums.find(field.message + "." + type), outer = proto.enums.find(type);
  if (type == "bool") {
    info.value = text == "true";
  } else if (type == "float" || type == "double") {
    info.value = text.empty() ? 0.0 : std::stod(text);
  } else if (type == "string" || type == "bytes") {
    info.value = text;
  } else if (type.find("int") != std::string::npos) {
    info.value = static_cast<int64_t>(text.empty() ? 0 : std::stoll(text));
  } else if (inner != proto.enums.end() || outer != proto.enums.end()) {
    info.value = !text.empty() ? text : inner != proto.enums.end() ? inner->second : outer->second;
  } else {
    info.is_message = true;
    info.message = type;
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
  const std::filesystem::path path =
      std::filesystem::path(__FILE__).parent_path() / "../../pycaffe_clr/proto/caffe.proto";
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) throw std::runtime_error("cannot read " + path.string());
  const Proto proto = read_proto(text.str());
  for (const ProtoField& field : proto.fields)
    Schema::global().add(field.message, field.name, info_of(field, proto));
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
