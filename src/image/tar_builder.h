// TarBuilder: archives for tests, also such as no program would write.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

namespace davit::image {

class TarBuilder {
 public:
  struct Options {
    unsigned mode = 0644;
    unsigned uid = 0;
    unsigned gid = 0;
    int64_t mtime = 1'000'000'000;
    std::string link;
    unsigned major = 0;
    unsigned minor = 0;
  };

  TarBuilder& File(const std::string& name, std::string_view content) { return File(name, content, Options()); }
  TarBuilder& File(const std::string& name, std::string_view content, const Options& options) {
    return Add(name, '0', content, options);
  }
  TarBuilder& Dir(const std::string& name, unsigned mode = 0755) {
    Options options;
    options.mode = mode;
    return Add(name, '5', "", options);
  }
  TarBuilder& Link(const std::string& name, char type, const std::string& target) {
    Options options;
    options.link = target;
    options.mode = 0777;
    return Add(name, type, "", options);
  }
  TarBuilder& Node(const std::string& name, char type, unsigned major, unsigned minor) {
    Options options;
    options.major = major;
    options.minor = minor;
    return Add(name, type, "", options);
  }
  // One record of a PAX header, "LENGTH key=value\n".
  static std::string Record(const std::string& key, const std::string& value) {
    size_t body = key.size() + value.size() + 3;
    size_t length = body + 1;
    while (std::to_string(length).size() + body != length) length = std::to_string(length).size() + body;
    return std::to_string(length) + " " + key + "=" + value + "\n";
  }
  TarBuilder& Pax(const std::string& records, char type = 'x') { return Add("pax", type, records, Options()); }
  TarBuilder& Raw(std::string_view bytes) {
    out_.append(bytes);
    return *this;
  }

  TarBuilder& Add(const std::string& name, char type, std::string_view content, const Options& options) {
    out_ += Header(name, type, content.size(), options);
    out_.append(content);
    out_.append((512 - content.size() % 512) % 512, '\0');
    return *this;
  }

  static std::string Header(const std::string& name, char type, uint64_t size, const Options& options) {
    char block[512] = {};
    std::memcpy(block, name.data(), name.size() < 100 ? name.size() : 100);
    std::snprintf(block + 100, 8, "%07o", options.mode);
    std::snprintf(block + 108, 8, "%07o", options.uid);
    std::snprintf(block + 116, 8, "%07o", options.gid);
    std::snprintf(block + 124, 12, "%011llo", static_cast<unsigned long long>(size));
    std::snprintf(block + 136, 12, "%011llo", static_cast<unsigned long long>(options.mtime));
    block[156] = type;
    std::memcpy(block + 157, options.link.data(), options.link.size() < 100 ? options.link.size() : 100);
    std::memcpy(block + 257, "ustar\00000", 8);
    std::snprintf(block + 329, 8, "%07o", options.major);
    std::snprintf(block + 337, 8, "%07o", options.minor);
    return Sum(std::string(block, 512));
  }
  // Puts the checksum right after a test has changed a header.
  static std::string Sum(std::string block) {
    std::memset(block.data() + 148, ' ', 8);
    unsigned sum = 0;
    for (char c : block) sum += static_cast<unsigned char>(c);
    std::snprintf(block.data() + 148, 8, "%06o", sum);
    return block;
  }

  // With the end mark.
  [[nodiscard]] std::string Finish() const { return out_ + std::string(1024, '\0'); }

 private:
  std::string out_;
};

}  // namespace davit::image
