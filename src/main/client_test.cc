// The client library against the native server.
#include "brood/client.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "client/address.h"
#include "client/cell_text.h"
#include "native/fake_sessions.h"
#include "tls/socket_bio.h"

namespace brood {
namespace {

NativeOptions owned() {
  NativeOptions options;
  options.owner = "ada";
  return options;
}

class ClientTest : public testing::Test {
 protected:
  Client connect() {
    ClientOptions options;
    options.address = "unix:" + service_.path();
    return Client(options);
  }
  FakeService service_{NativeKind::kUnix, owned()};
};

std::string error_code(const std::function<void()>& act) {
  try {
    act();
  } catch (const ClientError& error) {
    return error.code();
  }
  return "none";
}

TEST_F(ClientTest, RunsACell) {
  Client client = connect();
  EXPECT_EQ(client.user(), "ada");
  EXPECT_EQ(client.role(), "admin");
  RemoteSession session = client.new_session();
  std::string out, err;
  CellCallbacks callbacks;
  callbacks.on_stdout = [&](std::string_view bytes) { out += bytes; };
  callbacks.on_stderr = [&](std::string_view bytes) { err += bytes; };
  const CellResult result = session.execute("caf\xc3\xa9", callbacks);
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.text(), "42");
  EXPECT_EQ(result.ms, 1.5);
  EXPECT_EQ(out, "caf\xc3\xa9\n");
  EXPECT_EQ(err, "warned\n");
  EXPECT_EQ(session.execute("die").status, "ended");
}

TEST_F(ClientTest, ListsAndKeepsSessionsApart) {
  Client client = connect();
  RemoteSession one = client.new_session();
  RemoteSession two = client.new_session();
  const std::vector<SessionInfo> all = client.sessions();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[1].name, "name-" + two.id());
  two.start("2");
  EXPECT_EQ(one.execute("1").status, "ok");
  std::optional<SessionEvent> event = two.next_event();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->type, "cell");
  EXPECT_EQ(event->text("code"), "2");
  one.send_stdin("typed\n");
  EXPECT_EQ(service_.in_loop([&] { return service_.api().typed(one.id()); }), "typed\n");
}

TEST_F(ClientTest, ErrorsHaveCodes) {
  Client client = connect();
  EXPECT_EQ(error_code([&] { client.attach("nonsense"); }), "not_found");
  EXPECT_EQ(error_code([&] { client.call("echo", "[]"); }), "bad_request");
  EXPECT_EQ(error_code([&] { client.call("echo", "{}", std::string(9u << 20, 'x')); }), "limit");
  EXPECT_EQ(client.call("echo", R"({"x":1})", "body").json, R"({"x":1})");
  service_.stop();
  EXPECT_EQ(error_code([&] { client.sessions(); }), "connection");
  EXPECT_EQ(error_code([&] { connect(); }), "connection");
}

TEST(ClientLogin, ByTokenOrPassword) {
  FakeService service(NativeKind::kTcp, owned());
  ClientOptions options;
  options.address = "tcp:127.0.0.1:" + std::to_string(service.port());
  options.credentials.token = "sesame";
  EXPECT_EQ(Client(options).role(), "admin");
  options.credentials = {"", "ada", "lovelace"};
  EXPECT_EQ(Client(options).user(), "ada");
  options.credentials.password = "wrong";
  EXPECT_EQ(error_code([&] { Client client(options); }), "unauthorized");
}

// A context with a new certificate for 127.0.0.1, which is written to `file`, too.
SslContextPointer self_signed(const std::string& file) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* made = X509_new();
  ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
  X509_set_version(made, X509_VERSION_3);
  X509_gmtime_adj(X509_getm_notBefore(made), -3600);
  X509_gmtime_adj(X509_getm_notAfter(made), 3600);
  X509_set_pubkey(made, key);
  X509_EXTENSION* name =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "IP:127.0.0.1");
  X509_add_ext(made, name, -1);
  X509_EXTENSION_free(name);
  X509_sign(made, key, EVP_sha256());
  SslContextPointer context(SSL_CTX_new(TLS_server_method()));
  EXPECT_EQ(SSL_CTX_use_certificate(context.get(), made), 1);
  EXPECT_EQ(SSL_CTX_use_PrivateKey(context.get(), key), 1);
  FILE* out = std::fopen(file.c_str(), "w");
  EXPECT_EQ(PEM_write_X509(out, made), 1);
  std::fclose(out);
  X509_free(made);
  EVP_PKEY_free(key);
  return context;
}

TEST(ClientLogin, OverTlsOnlyToWhomItTrusts) {
  const std::string file = testing::TempDir() + "brood-certificate.pem";
  const SslContextPointer context = self_signed(file);
  FakeService service(NativeKind::kTls, owned(), [&] { return context.get(); });
  ClientOptions options;
  options.credentials.token = "sesame";
  options.address = "tls:127.0.0.1:" + std::to_string(service.port());
  EXPECT_EQ(error_code([&] { Client client(options); }), "connection");
  setenv("BROOD_CAFILE", file.c_str(), 1);
  Client client(options);
  const std::string body(7u << 20, 'b');
  EXPECT_EQ(client.call("echo", "{}", body).body, body);
  EXPECT_EQ(client.new_session().execute("1").text(), "42");
  options.address = "tls:localhost:" + std::to_string(service.port());
  EXPECT_EQ(error_code([&] { Client other(options); }), "connection");
  unsetenv("BROOD_CAFILE");
  std::filesystem::remove(file);
}

TEST(ClientAddress, IsReadOrRefused) {
  EXPECT_EQ(parse_server_address("unix:/a:b")->path, "/a:b");
  EXPECT_EQ(parse_server_address("tls:[::1]:99")->host, "::1");
  EXPECT_EQ(parse_server_address("tcp:example.org:8000")->port, "8000");
  for (const char* text : {"", "unix:", "tcp:", "tcp:host", "tcp:host:", "tcp::1", "udp:a:1",
                           "tcp:host:http", "/path", "tcp:host:123456"})
    EXPECT_FALSE(parse_server_address(text)) << text;
}

TEST(CellText, KnowsWhatIsWhole) {
  for (const char* code : {"1 + 1\n", "x = (1,\n2)\n", "'''a\nb'''\n", "def f():\n    pass\n\n",
                           "print('#(')\n", "f(\n)\n", "s = \"[\"\n", "\n", "x # :\n"})
    EXPECT_TRUE(is_whole_cell(code)) << code;
  for (const char* code : {"def f():\n", "x = (1,\n", "'''a\n", "def f():\n    pass\n", "@d\n",
                           "x = \\\n", "for x in y: # why\n", "if a:\n  b\nelse:\n"})
    EXPECT_FALSE(is_whole_cell(code)) << code;
  EXPECT_EQ(next_indent("def f():\n"), "    ");
  EXPECT_EQ(next_indent("def f():\n    x\n"), "    ");
  EXPECT_EQ(next_indent("x = (1,\n"), "");
}

TEST(CellText, KnowsWhetherPastedLinesWantMore) {
  for (const char* code : {"def f():\n    x\n\n    y\n", "a\n\nb\n", "f(\n\n1)\n", "x # (:\n"})
    EXPECT_FALSE(wants_more(code)) << code;
  for (const char* code : {"def f():\n", "f(1,\n\n", "'''a\n\n", "x = \\\n", "a\nif a: # why\n\n"})
    EXPECT_TRUE(wants_more(code)) << code;
}

}  // namespace
}  // namespace brood
