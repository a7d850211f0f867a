#include "core/spec.h"

namespace pcc {

Schema& Schema::global() {
  static Schema schema;
  return schema;
}

void Schema::add(const std::string& message, const std::string& field, FieldInfo info) {
  messages_[message][field] = std::move(info);
}

const FieldInfo& Schema::field(const std::string& message, const std::string& field) const {
  const auto fields = messages_.find(message);
  PCC_CHECK(fields != messages_.end(), "the schema has no message ", message,
            "; was it handed over?");
  const auto found = fields->second.find(field);
  PCC_CHECK(found != fields->second.end(), "message ", message, " has no field ", field);
  return found->second;
}

Attributes& Attributes::append_message(const std::string& field) {
  const FieldInfo& info = Schema::global().field(message_, field);
  auto& list = messages_[field];
  list.push_back(std::make_unique<Attributes>(info.message));
  return *list.back();
}

bool Attributes::has(const std::string& field) const {
  mark(field);
  return scalars_.count(field) != 0 || messages_.count(field) != 0;
}

size_t Attributes::size(const std::string& field) const {
  mark(field);
  if (const auto found = scalars_.find(field); found != scalars_.end()) return found->second.size();
  if (const auto found = messages_.find(field); found != messages_.end())
    return found->second.size();
  return 0;
}

const Scalar& Attributes::scalar(const std::string& field) const {
  mark(field);
  const auto found = scalars_.find(field);
  if (found != scalars_.end() && !found->second.empty()) return found->second.back();
  return Schema::global().field(message_, field).value;
}

namespace {

double to_double(const Scalar& value, const std::string& field) {
  if (const auto* number = std::get_if<double>(&value)) return *number;
  if (const auto* number = std::get_if<int64_t>(&value)) return static_cast<double>(*number);
  PCC_THROW(engine, "field ", field, " is not a number");
}

int64_t to_int(const Scalar& value, const std::string& field) {
  if (const auto* number = std::get_if<int64_t>(&value)) return *number;
  PCC_THROW(engine, "field ", field, " is not an integer");
}

std::string to_text(const Scalar& value, const std::string& field) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  PCC_THROW(engine, "field ", field, " is not a string");
}

}  // namespace

int64_t Attributes::get_int(const std::string& field) const { return to_int(scalar(field), field); }

double Attributes::get_double(const std::string& field) const {
  return to_double(scalar(field), field);
}

bool Attributes::get_bool(const std::string& field) const {
  const Scalar& value = scalar(field);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag;
  return to_int(value, field) != 0;
}

std::string Attributes::get_string(const std::string& field) const {
  return to_text(scalar(field), field);
}

std::vector<int64_t> Attributes::ints(const std::string& field) const {
  mark(field);
  std::vector<int64_t> list;
  if (const auto found = scalars_.find(field); found != scalars_.end())
    for (const Scalar& value : found->second) list.push_back(to_int(value, field));
  return list;
}

std::vector<bool> Attributes::bools(const std::string& field) const {
  mark(field);
  std::vector<bool> list;
  if (const auto found = scalars_.find(field); found != scalars_.end())
    for (const Scalar& value : found->second)
      list.push_back(std::holds_alternative<bool>(value) ? std::get<bool>(value)
                                                         : to_int(value, field) != 0);
  return list;
}

std::vector<double> Attributes::doubles(const std::string& field) const {
  mark(field);
  std::vector<double> list;
  if (const auto found = scalars_.find(field); found != scalars_.end())
    for (const Scalar& value : found->second) list.push_back(to_double(value, field));
  return list;
}

std::vector<std::string> Attributes::strings(const std::string& field) const {
  mark(field);
  std::vector<std::string> list;
  if (const auto found = scalars_.find(field); found != scalars_.end())
    for (const Scalar& value : found->second) list.push_back(to_text(value, field));
  return list;
}

const Attributes& Attributes::sub(const std::string& field) const {
  mark(field);
  const auto found = messages_.find(field);
  if (found != messages_.end() && !found->second.empty()) return *found->second.back();
  auto& stand_in = empty_[field];
  if (!stand_in)
    stand_in = std::make_unique<Attributes>(Schema::global().field(message_, field).message);
  return *stand_in;
}

const std::vector<std::unique_ptr<Attributes>>& Attributes::subs(const std::string& field) const {
  mark(field);
  static const std::vector<std::unique_ptr<Attributes>> none;
  const auto found = messages_.find(field);
  return found == messages_.end() ? none : found->second;
}

std::vector<std::string> Attributes::unread() const {
  std::vector<std::string> paths;
  for (const auto& [field, values] : scalars_)
    if (!read_.count(field)) paths.push_back(field);
  for (const auto& [field, list] : messages_) {
    if (!read_.count(field)) {
      paths.push_back(field);
      continue;
    }
    for (const auto& message : list)
      for (const std::string& inner : message->unread()) paths.push_back(field + "." + inner);
  }
  return paths;
}

Attributes::Attributes(const Attributes& other) { *this = other; }

Attributes& Attributes::operator=(const Attributes& other) {
  if (this == &other) return *this;
  message_ = other.message_;
  scalars_ = other.scalars_;
  read_ = other.read_;
  empty_.clear();
  messages_.clear();
  for (const auto& [field, list] : other.messages_)
    for (const auto& message : list)
      messages_[field].push_back(std::make_unique<Attributes>(*message));
  return *this;
}

std::string LayerSpec::title() const {
  return concat("layer '", name, "' (", type, where.empty() ? "" : ", ", where, ")");
}

}  // namespace pcc
