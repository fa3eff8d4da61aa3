// make_self_signed() of tls.h.
#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "auth/openssl_pointer.h"
#include "auth/private_file.h"
#include "auth/tls.h"
#include "base/require.h"
#include "base/sys.h"

namespace brood {
namespace {

constexpr long kHour = 3600;
constexpr long kDay = 24 * kHour;
constexpr long kValid = 365 * kDay;
constexpr size_t kMaxName = 253;
constexpr size_t kMaxCommonName = 64;
constexpr size_t kMaxOwnPem = 1 << 20;  // bytes

bool is_address(const std::string& name) {
  std::array<unsigned char, sizeof(in6_addr)> bytes;
  return inet_pton(AF_INET, name.c_str(), bytes.data()) == 1 ||
         inet_pton(AF_INET6, name.c_str(), bytes.data()) == 1;
}

bool is_host_name(const std::string& name) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
  };
  return !name.empty() && name.size() <= kMaxName && std::all_of(name.begin(), name.end(), good);
}

// "DNS:localhost,IP:127.0.0.1"
std::string alternative_names(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names)
    out.append(out.empty() ? "" : ",").append(is_address(name) ? "IP:" : "DNS:").append(name);
  return out;
}

void add_extension(X509* certificate, int nid, const std::string& value) {
  const ExtensionPointer extension(X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str()));
  require(extension && X509_add_ext(certificate, extension.get(), -1) == 1,
          "an extension made of checked names is good");
}

void set_random_serial(X509* certificate) {
  uint64_t serial = 0;
  require(RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) == 1,
          "the system has random numbers");
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1 | 1);
}

CertificatePointer make_certificate(EVP_PKEY* key, const std::vector<std::string>& names) {
  CertificatePointer made(X509_new());
  require(made, "OpenSSL has memory");
  X509_set_version(made.get(), X509_VERSION_3);
  set_random_serial(made.get());
  X509_gmtime_adj(X509_getm_notBefore(made.get()), -kHour);  // clocks differ
  X509_gmtime_adj(X509_getm_notAfter(made.get()), kValid);
  X509_set_pubkey(made.get(), key);
  X509_NAME* subject = X509_get_subject_name(made.get());
  const std::string common = names[0].substr(0, kMaxCommonName);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(common.data()),
                             static_cast<int>(common.size()), -1, 0);
  X509_set_issuer_name(made.get(), subject);
  add_extension(made.get(), NID_basic_constraints, "critical,CA:FALSE");
  add_extension(made.get(), NID_key_usage, "critical,digitalSignature");
  add_extension(made.get(), NID_ext_key_usage, "serverAuth");
  add_extension(made.get(), NID_subject_alt_name, alternative_names(names));
  require(X509_sign(made.get(), key, EVP_sha256()) > 0, "a fresh key can sign");
  return made;
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(length)};
}

bool covers(X509* certificate, const std::string& name) {
  if (is_address(name)) return X509_check_ip_asc(certificate, name.c_str(), 0) == 1;
  return X509_check_host(certificate, name.c_str(), name.size(), 0, nullptr) == 1;
}

bool still_good(const TlsFiles& files, const std::vector<std::string>& names) {
  if (!TlsContext::load(files)) return false;
  Result<std::string> pem = read_file(files.certificate, kMaxOwnPem);
  if (!pem) return false;
  const CertificatePointer present(
      PEM_read_bio_X509(bio_of(*pem).get(), nullptr, nullptr, nullptr));
  if (!present) return false;
  time_t tomorrow = time(nullptr) + kDay;
  return X509_cmp_time(X509_get0_notAfter(present.get()), &tomorrow) > 0 &&
         std::all_of(names.begin(), names.end(),
                     [&](const std::string& name) { return covers(present.get(), name); });
}

Result<void> write_pair(const TlsFiles& files, const std::vector<std::string>& names) {
  const KeyPointer key(EVP_EC_gen("P-256"));
  require(key, "OpenSSL knows P-256");
  const CertificatePointer certificate = make_certificate(key.get(), names);
  const BioPointer key_text(BIO_new(BIO_s_mem()));
  const BioPointer certificate_text(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  PEM_write_bio_X509(certificate_text.get(), certificate.get());
  if (Result<void> put = replace_file(files.key, text_of(key_text.get())); !put) return put;
  if (Result<void> put = replace_file(files.certificate, text_of(certificate_text.get())); !put)
    return put;
  if (chmod(files.certificate.c_str(), 0644) != 0)  // it is to be given to clients
    return sys_error("change the mode of " + files.certificate);
  return {};
}

}  // namespace

Result<TlsFiles> make_self_signed(const std::string& folder,
                                  const std::vector<std::string>& names) {
  if (names.empty()) return Error{"a certificate needs a host name or an address"};
  for (const std::string& name : names)
    if (!is_address(name) && !is_host_name(name))
      return Error{"\"" + name + "\" is neither a host name nor an IP address"};
  if (Result<void> made = make_folder(folder); !made) return made.error();
  const TlsFiles files{folder + "/tls-cert.pem", folder + "/tls-key.pem"};
  if (still_good(files, names)) return files;
  if (Result<void> written = write_pair(files, names); !written) return written.error();
  return files;
}

}  // namespace brood
