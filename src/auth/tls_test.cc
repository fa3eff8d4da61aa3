#include "auth/tls.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include "auth/openssl_pointer.h"
#include "auth/test_folder.h"

namespace brood {
namespace {

using ContextPointer = std::unique_ptr<SSL_CTX, FreeWith<SSL_CTX_free>>;
using StreamPointer = std::unique_ptr<SSL, FreeWith<SSL_free>>;

// A client that trusts one certificate only.
ContextPointer client_trusting(const std::string& certificate) {
  ContextPointer context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  EXPECT_EQ(SSL_CTX_load_verify_file(context.get(), certificate.c_str()), 1);
  return context;
}

// Both ends of a connection in memory.
struct Connection {
  StreamPointer client;
  StreamPointer server;

  Connection(SSL_CTX* client_context, SSL_CTX* server_context, const char* host = nullptr)
      : client(SSL_new(client_context)), server(SSL_new(server_context)) {
    BIO* one = nullptr;
    BIO* other = nullptr;
    EXPECT_EQ(BIO_new_bio_pair(&one, 0, &other, 0), 1);
    SSL_set_bio(client.get(), one, one);
    SSL_set_bio(server.get(), other, other);
    SSL_set_connect_state(client.get());
    SSL_set_accept_state(server.get());
    if (!host) return;
    EXPECT_EQ(SSL_set1_host(client.get(), host), 1);
  }

  bool shake_hands() {
    for (int round = 0; round < 10; ++round) {
      const int client_done = SSL_do_handshake(client.get());
      const int server_done = SSL_do_handshake(server.get());
      if (client_done == 1 && server_done == 1) return true;
    }
    ERR_clear_error();
    return false;
  }

  bool carries(const std::string& text) {
    std::string got(text.size(), '\0');
    return SSL_write(client.get(), text.data(), static_cast<int>(text.size())) > 0 &&
           SSL_read(server.get(), got.data(), static_cast<int>(got.size())) > 0 && got == text;
  }
};

class Tls : public testing::Test {
 protected:
  TlsFiles pair(const std::string& name, const std::vector<std::string>& hosts = {"localhost"}) {
    Result<TlsFiles> made = make_self_signed(folder_.file(name), hosts);
    EXPECT_TRUE(made) << made.error().message;
    return *made;
  }

  std::string why_not(const TlsFiles& files) {
    Result<std::unique_ptr<TlsContext>> loaded = TlsContext::load(files);
    return loaded ? "" : loaded.error().message;
  }

  TestFolder folder_;
};

bool works(SSL_CTX* client, const TlsContext& tls, const char* host = nullptr) {
  const ContextPointer server(tls.share());
  return Connection(client, server.get(), host).shake_hands();
}

void copy(const std::string& from, const std::string& to) {
  ASSERT_TRUE(replace_file(to, *read_file(from, 1 << 20)));
}

TEST_F(Tls, ASelfSignedPairWorksForItsNamesOnly) {
  const TlsFiles files = pair("a", {"localhost", "box.example", "127.0.0.1", "::1"});
  Result<std::unique_ptr<TlsContext>> tls = TlsContext::load(files);
  ASSERT_TRUE(tls) << tls.error().message;
  const ContextPointer client = client_trusting(files.certificate);
  EXPECT_TRUE(works(client.get(), **tls, "localhost"));
  EXPECT_TRUE(works(client.get(), **tls, "box.example"));
  EXPECT_TRUE(works(client.get(), **tls, "127.0.0.1"));
  EXPECT_TRUE(works(client.get(), **tls, "::1"));
  EXPECT_FALSE(works(client.get(), **tls, "other.example"));
  EXPECT_FALSE(works(client_trusting(pair("b").certificate).get(), **tls, "localhost"));
  struct stat st;
  ASSERT_EQ(stat(files.key.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600U);
}

TEST_F(Tls, OldVersionsAndWeakCiphersAreRefused) {
  const TlsFiles files = pair("a");
  Result<std::unique_ptr<TlsContext>> tls = TlsContext::load(files);
  ContextPointer client = client_trusting(files.certificate);
  SSL_CTX_set_max_proto_version(client.get(), TLS1_2_VERSION);
  EXPECT_TRUE(works(client.get(), **tls));
  SSL_CTX_set_cipher_list(client.get(), "ECDHE-ECDSA-AES128-SHA256");
  EXPECT_FALSE(works(client.get(), **tls)) << "not authenticated encryption";
  const ContextPointer server((*tls)->share());
  EXPECT_EQ(SSL_CTX_get_min_proto_version(server.get()), TLS1_2_VERSION);
  EXPECT_NE(SSL_CTX_get_options(server.get()) & SSL_OP_NO_RENEGOTIATION, 0U);
  EXPECT_NE(SSL_CTX_get_options(server.get()) & SSL_OP_NO_COMPRESSION, 0U);
}

TEST_F(Tls, APairThatIsGoodIsKept) {
  const TlsFiles files = pair("a", {"localhost", "127.0.0.1"});
  const std::string before = *read_file(files.certificate, 1 << 20);
  pair("a", {"localhost"});
  EXPECT_EQ(*read_file(files.certificate, 1 << 20), before);
  pair("a", {"localhost", "more.example"});
  const std::string wider = *read_file(files.certificate, 1 << 20);
  EXPECT_NE(wider, before);
  ASSERT_TRUE(replace_file(files.key, "damaged"));
  pair("a", {"localhost"});
  EXPECT_NE(*read_file(files.certificate, 1 << 20), wider);
  EXPECT_EQ(why_not(files), "");
}

TEST_F(Tls, RefusesNamesThatAreNone) {
  for (const char* name : {"", "a b", "a,DNS:b", "a\n", "größe", "*"})
    EXPECT_FALSE(make_self_signed(folder_.path(), {name})) << name;
  EXPECT_FALSE(make_self_signed(folder_.path(), {}));
}

TEST_F(Tls, SaysWhatIsWrongWithTheFiles) {
  const TlsFiles good = pair("a");
  const std::string none = folder_.file("none");
  folder_.write("text", "no PEM\n");
  folder_.write("cut", *read_file(good.certificate, 1 << 20) + "-----BEGIN CERTIFICATE-----\nAAAA");
  EXPECT_EQ(why_not({none, good.key}), "cannot open " + none + ": No such file or directory");
  EXPECT_EQ(why_not({good.certificate, none}),
            "cannot open " + none + ": No such file or directory");
  EXPECT_EQ(why_not({folder_.file("text"), good.key}),
            folder_.file("text") + " holds no certificate in PEM");
  EXPECT_EQ(why_not({folder_.file("cut"), good.key}),
            folder_.file("cut") + " is damaged after its first certificate");
  EXPECT_EQ(why_not({good.certificate, folder_.file("text")}),
            folder_.file("text") + " holds no private key in PEM without a passphrase");
  const TlsFiles other = pair("b");
  EXPECT_EQ(
      why_not({good.certificate, other.key}),
      "the key in " + other.key + " does not belong to the certificate in " + good.certificate);
  ASSERT_EQ(chmod(good.key.c_str(), 0644), 0);
  EXPECT_NE(why_not(good).find(good.key + " is open to others"), std::string::npos);
}

TEST_F(Tls, AKeyWithAPassphraseIsRefusedNotAskedFor) {
  const TlsFiles files = pair("a");
  const KeyPointer key(EVP_EC_gen("P-256"));
  const BioPointer text(BIO_new(BIO_s_mem()));
  ASSERT_EQ(
      PEM_write_bio_PrivateKey(text.get(), key.get(), EVP_aes_128_cbc(),
                               reinterpret_cast<const unsigned char*>("pass"), 4, nullptr, nullptr),
      1);
  char* data = nullptr;
  const long length = BIO_get_mem_data(text.get(), &data);
  ASSERT_TRUE(replace_file(files.key, {data, static_cast<size_t>(length)}));
  EXPECT_NE(why_not(files).find("without a passphrase"), std::string::npos);
}

TEST_F(Tls, AChainIsSentWhole) {
  const TlsFiles files = pair("a");
  const std::string more = *read_file(pair("b").certificate, 1 << 20);
  ASSERT_TRUE(replace_file(files.certificate, *read_file(files.certificate, 1 << 20) + more));
  Result<std::unique_ptr<TlsContext>> tls = TlsContext::load(files);
  ASSERT_TRUE(tls) << tls.error().message;
  const ContextPointer client = client_trusting(files.certificate);
  const ContextPointer server((*tls)->share());
  Connection connection(client.get(), server.get());
  ASSERT_TRUE(connection.shake_hands());
  EXPECT_EQ(sk_X509_num(SSL_get_peer_cert_chain(connection.client.get())), 2);
}

TEST_F(Tls, ReloadIsForNewConnectionsAndKeepsTheOldOnFailure) {
  const TlsFiles files = pair("a");
  const TlsFiles next = pair("b");
  const ContextPointer old_client = client_trusting(files.certificate);
  const ContextPointer new_client = client_trusting(next.certificate);
  Result<std::unique_ptr<TlsContext>> tls = TlsContext::load(files);
  ASSERT_TRUE(tls);
  ContextPointer server((*tls)->share());
  Connection connection(old_client.get(), server.get());
  ASSERT_TRUE(connection.shake_hands());
  server.reset();

  copy(next.certificate, files.certificate);
  Result<void> reloaded = (*tls)->reload();
  ASSERT_FALSE(reloaded);
  EXPECT_NE(reloaded.error().message.find("does not belong"), std::string::npos);
  EXPECT_TRUE(works(old_client.get(), **tls));

  copy(next.key, files.key);
  EXPECT_TRUE((*tls)->reload());
  EXPECT_FALSE(works(old_client.get(), **tls));
  EXPECT_TRUE(works(new_client.get(), **tls));
  EXPECT_TRUE(connection.carries("still there"));
}

}  // namespace
}  // namespace brood
