// Records as JSON without a line per field: structs that are described with BOOST_DESCRIBE_STRUCT are
// written as objects and read back member by member.
//
// A member that is missing in the text keeps its default and an unknown one is ignored, so a reader
// takes the records of the version before it and of the one after (docs/formats/store.md). Enums are
// their numbers. Include this only from .cc files: it brings Boost.JSON and Boost.Describe.
#pragma once

#include <boost/describe.hpp>
#include <boost/json.hpp>
#include <boost/mp11.hpp>
#include <concepts>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "base/result.h"

namespace davit::oci {

namespace reflect_detail {
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
concept Identifier = requires(const T& id) {
  T::Parse(std::string_view());
  { id.str() } -> std::convertible_to<std::string>;
};
template <class T>
struct IsStringMap : std::false_type {};
template <class T>
struct IsStringMap<std::map<std::string, T>> : std::true_type {};
}  // namespace reflect_detail

template <class T>
boost::json::value Reflect(const T& value) {
  using namespace reflect_detail;
  if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::string>) {
    return boost::json::value(value);
  } else if constexpr (Identifier<T>) {
    return boost::json::value(value.str());
  } else if constexpr (std::is_enum_v<T>) {
    return boost::json::value(static_cast<int64_t>(value));
  } else if constexpr (std::is_integral_v<T>) {
    return boost::json::value(value);
  } else if constexpr (IsOptional<T>::value) {
    return value ? Reflect(*value) : boost::json::value(nullptr);
  } else if constexpr (IsVector<T>::value) {
    boost::json::array array;
    array.reserve(value.size());
    for (const auto& item : value) array.push_back(Reflect(item));
    return array;
  } else if constexpr (IsStringMap<T>::value) {
    boost::json::object object;
    for (const auto& [key, item] : value) object[key] = Reflect(item);
    return object;
  } else {
    boost::json::object object;
    boost::mp11::mp_for_each<boost::describe::describe_members<T, boost::describe::mod_public>>(
        [&](auto member) { object[member.name] = Reflect(value.*member.pointer); });
    return object;
  }
}

// Fills `value` from `json`; kDataLoss naming the member whose type is wrong.
template <class T>
Status Unreflect(const boost::json::value& json, T& value, std::string_view name) {
  using namespace reflect_detail;
  auto wrong = [&] { return DataLoss("member " + std::string(name) + " has the wrong type"); };
  if constexpr (std::is_same_v<T, bool>) {
    if (!json.is_bool()) return wrong();
    value = json.as_bool();
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!json.is_string()) return wrong();
    value = std::string(json.as_string());
  } else if constexpr (Identifier<T>) {
    if (!json.is_string()) return wrong();
    if (json.as_string().empty()) {
      value = T();
    } else {
      ASSIGN_OR_RETURN(value, T::Parse(std::string_view(json.as_string().data(), json.as_string().size())));
    }
  } else if constexpr (std::is_enum_v<T> || std::is_integral_v<T>) {
    using Number =
        typename std::conditional_t<std::is_enum_v<T>, std::type_identity<int64_t>, std::type_identity<T>>::type;
    boost::json::error_code error;
    Number number = json.to_number<Number>(error);
    if (error) return wrong();
    value = static_cast<T>(number);
  } else if constexpr (IsOptional<T>::value) {
    if (json.is_null()) {
      value.reset();
    } else {
      value.emplace();
      return Unreflect(json, *value, name);
    }
  } else if constexpr (IsVector<T>::value) {
    if (!json.is_array()) return wrong();
    value.clear();
    for (const auto& item : json.as_array()) {
      value.emplace_back();
      RETURN_IF_ERROR(Unreflect(item, value.back(), name));
    }
  } else if constexpr (IsStringMap<T>::value) {
    if (!json.is_object()) return wrong();
    value.clear();
    for (const auto& item : json.as_object()) {
      RETURN_IF_ERROR(Unreflect(item.value(), value[std::string(item.key())], item.key()));
    }
  } else {
    if (!json.is_object()) return wrong();
    Status status;
    boost::mp11::mp_for_each<boost::describe::describe_members<T, boost::describe::mod_public>>([&](auto member) {
      if (!status.ok()) return;
      const boost::json::value* found = json.as_object().if_contains(member.name);
      if (found != nullptr) status = Unreflect(*found, value.*member.pointer, member.name);
    });
    return status;
  }
  return {};
}

template <class T>
std::string ReflectToText(const T& value) {
  return boost::json::serialize(Reflect(value));
}

// A record, which says its version in a member `version` (none: the newest). It is looked at before any other member,
// for those of a later version may be of any form: kDataLoss naming `what` ("pod") and the version. `upgrade`, when
// given, brings the text of an earlier version to the form that T has now; the record read is of the newest.
template <class T>
Result<T> RecordFromText(std::string_view text, std::string_view what, uint32_t newest,
                         void (*upgrade)(boost::json::value& json) = nullptr) {
  boost::json::error_code error;
  // Environment values and annotations are bytes (CRI KeyValue.value); the text is our own.
  boost::json::parse_options options;
  options.allow_invalid_utf8 = true;
  boost::json::value json = boost::json::parse(boost::json::string_view(text.data(), text.size()), error, {}, options);
  if (error) return DataLoss("not JSON: " + error.message());
  const boost::json::value* version = json.is_object() ? json.as_object().if_contains("version") : nullptr;
  if (version != nullptr) {
    uint32_t number = 0;
    RETURN_IF_ERROR(Unreflect(*version, number, "version"));
    if (number > newest) {
      return DataLoss(std::string(what) + " record of version " + std::to_string(number) +
                      ", this davitd reads up to " + std::to_string(newest));
    }
  }
  if (upgrade != nullptr) upgrade(json);
  T value;
  RETURN_IF_ERROR(Unreflect(json, value, "record"));
  value.version = newest;
  return value;
}

}  // namespace davit::oci
