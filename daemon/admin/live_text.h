// The documents of the admin listener as text for a terminal. Pure functions; any thread. They throw
// boost::system::system_error or std::exception where the document is not of that form; the caller catches.
#pragma once

#include <boost/json/object.hpp>
#include <string>

namespace prefixd {

std::string ReadyAsText(const boost::json::object& document, bool color);
std::string StatusAsText(const boost::json::object& document, bool color);
std::string RequestsAsText(const boost::json::object& document);  // a line for each
std::string RequestAsText(const boost::json::object& document);   // all about those with one id

}  // namespace prefixd
