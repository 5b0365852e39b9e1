// FieldTable: the fields of a route's body. RequestFields reads no field that its table lacks, and
// /openapi.json describes the table, so the document has every field that is read.
//
// Threads: one thread fills it, any thread reads it afterwards.
//
// Invariants
//   1. A value that a row's schema does not allow is refused. A reader may refuse more: `n` has a limit of
//      the server, an id must be one of the vocabulary.
//   2. null means the same as a field that is missing, and every row but a required one allows it.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace prefixd {

struct UnsupportedField;

enum class FieldType { kAny, kBoolean, kInteger, kNumber, kString, kArray, kObject };

struct FieldRow {
  FieldType type = FieldType::kAny;
  double low = 0, high = 0;    // of numbers, both included
  boost::json::object schema;  // without null; a schema of any value where the field has no effect
  bool required = false;
};

class FieldTable {
 public:
  // A row for a field with a getter of RequestFields. `items` is the JSON Schema of the elements of an array
  // or the members of an object, as text.
  FieldTable& Bool(std::string_view name);
  FieldTable& Integer(std::string_view name, double low, double high);
  FieldTable& Number(std::string_view name, double low, double high);
  FieldTable& String(std::string_view name);
  FieldTable& Array(std::string_view name, std::string_view items = "{}");
  FieldTable& Object(std::string_view name, std::string_view members = "{}");
  // A field of several types, with its JSON Schema as text.
  FieldTable& Any(std::string_view name, std::string_view schema = "{}");
  // Fields without an effect, and fields whose only value is the one that means nothing. The latter may be
  // fields that other routes support.
  FieldTable& Ignored(std::initializer_list<std::string_view> names);
  FieldTable& Unsupported(std::span<const UnsupportedField> fields);
  // Of a field that the table has.
  FieldTable& Required(std::string_view name);

  const std::map<std::string, FieldRow, std::less<>>& rows() const { return rows_; }

  // What is wrong with reading a field as that type, or nothing: it needs a row of that name and type, whose
  // range includes [low, high]. Any: a row of any type.
  std::optional<std::string> FaultOf(std::string_view name, FieldType type, double low = 0,
                                     double high = 0) const;

  // The schema of a body.
  boost::json::object Schema() const;

 private:
  FieldTable& Add(std::string_view name, FieldRow row);

  std::map<std::string, FieldRow, std::less<>> rows_;
};

}  // namespace prefixd
