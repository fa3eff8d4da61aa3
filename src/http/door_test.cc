// The door itself: who may come in, what is malformed, how long it waits, what it streams.
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "http/fake_door.h"

namespace brood {
namespace {

using std::chrono::milliseconds;

class DoorTest : public HttpTest {};

constexpr PageFile kPage[] = {
    {"/", "text/html", "\"abc\"", "<html>", "", "default-src 'self'", "no-cache"},
    {"/assets/x.js", "text/javascript", "\"def\"", "1234", "zip", "p", "immutable"},
    {"/frame.html", "text/html", "\"ghi\"", "<b>", "", "sandbox", "no-cache"}};

// --- who asks ------------------------------------------------------------------------------------

TEST_F(DoorTest, LoginGivesACookieAndLogoutTakesIt) {
  serve();
  const HttpReply login = ask("POST /v1/login", "", R"({"user":"anna","password":"pass"})");
  ASSERT_EQ(login.status, 200) << login.body;
  EXPECT_EQ(login.parsed(), json({{"user", "anna"}, {"role", "user"}}));
  EXPECT_EQ(login.headers.at("set-cookie"),
            cookie_name_ + "=c-anna; Path=/; HttpOnly; SameSite=Strict");
  const std::string cookie = "Cookie: other=1; brood-1=another; " + cookie_name_ + "=c-anna\r\n";
  const std::string own = cookie + "Origin: http://" + host_ + "\r\n";
  EXPECT_EQ(ask("GET /v1/me", cookie).parsed()["user"], "anna");
  EXPECT_EQ(ask("POST /v1/sessions", cookie).status, 403);
  EXPECT_EQ(ask("POST /v1/sessions", cookie + "Origin: http://x.example\r\n").status, 403);
  EXPECT_EQ(ask("POST /v1/sessions", own).status, 201);
  const HttpReply logout = ask("POST /v1/logout", own);
  EXPECT_EQ(logout.status, 204);
  EXPECT_NE(logout.headers.at("set-cookie").find("Max-Age=0"), std::string::npos);
  EXPECT_EQ(ask("GET /v1/me", cookie).status, 401);
}

TEST_F(DoorTest, LoginsThatFail) {
  serve();
  const std::pair<const char*, int> cases[] = {{R"({"user":"anna","password":"x"})", 401},
                                               {R"({"token":"x"})", 401},
                                               {R"({"token":"root"})", 200},
                                               {R"({"user":"anna"})", 400},
                                               {R"({"user":"anna","password":1})", 401},
                                               {R"({})", 400}};
  for (const auto& [body, status] : cases)
    EXPECT_EQ(ask("POST /v1/login", "", body).status, status) << body;
  EXPECT_EQ(ask("POST /v1/login", "Origin: http://x.example\r\n", R"({"token":"root"})").status,
            403);
  EXPECT_EQ(authenticator_.address_, "127.0.0.1");
}

TEST_F(DoorTest, TheAddressWithATokenLogsIn) {
  serve({.secure = true});
  const HttpReply reply = ask("GET /?token=root", "");
  EXPECT_EQ(reply.status, 303);
  EXPECT_EQ(reply.headers.at("location"), "/");
  EXPECT_NE(reply.headers.at("set-cookie").find("; Secure"), std::string::npos);
  EXPECT_EQ(ask("GET /?token=wrong", "").status, 401);
}

TEST_F(DoorTest, FailuresAreHeldBackAndCounted) {
  authenticator_.delay_ns_ = 50'000'000;
  authenticator_.refuse_after_ = 2;
  serve();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(ask("GET /v1/me", "Authorization: Bearer x\r\n").status, 401);
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(50));
  EXPECT_EQ(ask("GET /v1/me", "Authorization: Bearer x\r\n").status, 401);
  const HttpReply refused = ask("GET /v1/me", kAnna);
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.headers.count("retry-after"), 1u);
}

TEST_F(DoorTest, OnlyItsOwnNames) {
  serve({.host_names = {"Brood.example"}});
  const std::string port = std::to_string(port_);
  const std::pair<std::string, int> cases[] = {{"localhost", 200},
                                               {"LOCALHOST:1", 200},
                                               {"127.0.0.1:" + port, 200},
                                               {"brood.example", 200},
                                               {"evil.example", 421},
                                               {"127.0.0.2", 421},
                                               {"[::1]", 421},
                                               {"a b", 400},
                                               {"localhost:x", 400},
                                               {"", 400},
                                               {"localhost:123456", 400}};
  for (const auto& [host, status] : cases)
    EXPECT_EQ(ask_raw("GET /healthz HTTP/1.1\r\nHost: " + host + "\r\n\r\n").status, status)
        << host;
  EXPECT_EQ(ask_raw("GET /healthz HTTP/1.1\r\n\r\n").status, 400);
  EXPECT_EQ(ask_raw("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status, 400);
}

TEST_F(DoorTest, MetricsAreForTheMachineAndCountTheDoor) {
  serve();
  ask("GET /nothing");
  const HttpReply reply = ask("GET /metrics", "");
  EXPECT_EQ(reply.status, 200);
  EXPECT_NE(reply.body.find("brood_sessions 1\n"), std::string::npos);
  EXPECT_NE(reply.body.find("brood_http_requests_total{class=\"4xx\"} 1\n"), std::string::npos);
}

// --- the page ------------------------------------------------------------------------------------

TEST_F(DoorTest, ThePageAndItsHeaders) {
  serve({.page = kPage});
  const HttpReply index = ask("GET /", "");
  EXPECT_EQ(index.body, "<html>");
  EXPECT_EQ(index.headers.at("etag"), "\"abc\"");
  EXPECT_EQ(index.headers.at("cache-control"), "no-cache");
  EXPECT_EQ(index.headers.at("content-security-policy"), "default-src 'self'");
  EXPECT_EQ(index.headers.at("x-content-type-options"), "nosniff");
  EXPECT_EQ(index.headers.at("referrer-policy"), "no-referrer");
  EXPECT_EQ(ask("GET /", "If-None-Match: \"abc\"\r\n").status, 304);
  EXPECT_EQ(ask("GET /frame.html", "").headers.at("content-security-policy"), "sandbox");
  const HttpReply script = ask("GET /assets/x.js", "");
  EXPECT_EQ(script.body, "1234");
  EXPECT_EQ(script.headers.at("cache-control"), "immutable");
  const HttpReply packed = ask("GET /assets/x.js", "Accept-Encoding: br, gzip\r\n");
  EXPECT_EQ(packed.body, "zip");
  EXPECT_EQ(packed.headers.at("content-encoding"), "gzip");
  EXPECT_EQ(ask("GET /missing.js", "").status, 404);
  EXPECT_EQ(ask("POST /", "").headers.at("allow"), "GET, HEAD");
  const HttpReply head = ask("HEAD /", "");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), "6");
  EXPECT_EQ(ask("GET /v1/me").headers.at("cache-control"), "no-store");
  EXPECT_EQ(ask("GET /v1/openapi.json", "").parsed()["openapi"], "3.1.0");
}

// --- malformed and too much ----------------------------------------------------------------------

TEST_F(DoorTest, MalformedRequests) {
  serve({.max_body = 1000});
  EXPECT_EQ(ask("GET /v1/nothing").status, 404);
  EXPECT_EQ(ask("PUT /v1/sessions").status, 405);
  EXPECT_EQ(ask("PUT /v1/sessions").headers.at("allow"), "GET, HEAD, POST");
  EXPECT_EQ(ask("GET /v1/sessions/%zz").status, 400);
  EXPECT_EQ(ask("GET /v1/sessions/s1/files/a%00b").status, 400);
  EXPECT_EQ(ask("POST /v1/sessions", kAnna, "{").status, 400);
  EXPECT_EQ(ask("POST /v1/sessions", kAnna, "[1]").status, 400);
  EXPECT_EQ(ask("POST /v1/sessions", kAnna, std::string(500, '[')).status, 400);
  EXPECT_EQ(ask("POST /v1/sessions", kAnna, std::string(1001, ' ')).status, 413);
  EXPECT_EQ(
      ask("POST /v1/sessions", std::string(kAnna) + "Content-Type: text/plain\r\n", "{}").status,
      415);
  EXPECT_EQ(ask("GET /" + std::string(20'000, 'a')).status, 431);
  EXPECT_EQ(ask_raw("nonsense\r\n\r\n").status, 400);
  EXPECT_EQ(ask_raw("GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n").status,
            400);
  EXPECT_TRUE(api_.calls().empty());
  const std::string chunked = request("POST /v1/sessions", std::string(kAnna) +
                                                               "Content-Type: application/json\r\n"
                                                               "Transfer-Encoding: chunked\r\n") +
                              "400\r\n" + std::string(1024, ' ') + "\r\n0\r\n\r\n";
  EXPECT_EQ(ask_raw(chunked).status, 413);
}

TEST_F(DoorTest, ABodyInACodingThatIsNotKnown) {
  serve();
  const std::string json = std::string(kAnna) + "Content-Type: application/json\r\n";
  for (const std::string coding : {"identity", "gzip", "gzip, chunked", "chunked, identity",
                                   "chunked\r\nTransfer-Encoding: chunked"}) {
    const HttpReply reply = ask_raw(
        request("POST /v1/sessions", json + "Transfer-Encoding: " + coding + "\r\n") + "0\r\n\r\n");
    EXPECT_EQ(reply.status, 400) << coding;
    EXPECT_EQ(reply.headers.at("connection"), "close") << coding;
  }
  EXPECT_EQ(ask("POST /v1/sessions", json + "Content-Encoding: gzip\r\n", "{}").status, 415);
  EXPECT_TRUE(api_.calls().empty());
  const std::string empty =
      request("POST /v1/sessions", json + "Transfer-Encoding: Chunked\r\n") + "0\r\n\r\n";
  EXPECT_EQ(ask_raw(empty).status, 201);
}

TEST_F(DoorTest, AChunkWithoutASize) {
  serve();
  const std::string head = request("POST /v1/sessions", std::string(kAnna) +
                                                            "Content-Type: application/json\r\n"
                                                            "Transfer-Encoding: chunked\r\n");
  for (const std::string body : {"zz\r\n{}\r\n0\r\n\r\n", "2\r\n{}\r\nzz\r\n"}) {
    const HttpReply reply = ask_raw(head + body);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_EQ(reply.headers.at("content-type"), "application/problem+json");
    EXPECT_EQ(reply.headers.at("connection"), "close");
    EXPECT_EQ(reply.parsed()["code"], "bad_request");
  }
  EXPECT_TRUE(api_.calls().empty());
}

TEST_F(DoorTest, ALoadBalancerAsksWithoutAName) {
  serve();
  EXPECT_EQ(ask_raw("GET /healthz HTTP/1.0\r\n\r\n").parsed()["status"], "ok");
  EXPECT_EQ(ask_raw("GET /healthz HTTP/1.0\r\nHost: other.example\r\n\r\n").status, 421);
  EXPECT_EQ(ask_raw("GET /healthz HTTP/1.1\r\n\r\n").status, 400);
  EXPECT_EQ(ask_raw("GET /v1/openapi.json HTTP/1.0\r\n\r\n").status, 400);
}

TEST_F(DoorTest, RequestsFollowEachOther) {
  serve();
  HttpClient client(port_);
  const std::string one = request("POST /v1/sessions", kAnna, R"({"name":"a"})");
  client.send(one + request("GET /healthz") + one);
  EXPECT_EQ(client.reply().status, 201);
  EXPECT_EQ(client.reply().parsed()["status"], "ok");
  EXPECT_EQ(client.reply().status, 201);
  client.send(request("GET /healthz", "Connection: close\r\n"));
  EXPECT_EQ(client.reply().headers.at("connection"), "close");
  EXPECT_TRUE(client.closed());
}

TEST_F(DoorTest, ABodyIsAskedFor) {
  serve();
  HttpClient client(port_);
  client.send(request("POST /v1/sessions", std::string(kAnna) +
                                               "Content-Type: application/json\r\n"
                                               "Content-Length: 2\r\nExpect: 100-continue\r\n"));
  EXPECT_EQ(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("{}");
  EXPECT_EQ(client.reply().status, 201);
}

TEST_F(DoorTest, WhoIsTooSlowIsDropped) {
  serve({.idle_timeout = milliseconds(50), .header_timeout = milliseconds(50)});
  HttpClient idle(port_), slow(port_), body(port_);
  slow.send("GET /healthz HT");
  body.send(request("POST /v1/sessions", std::string(kAnna) + "Content-Type: application/json\r\n"
                                                              "Content-Length: 2\r\n"));
  EXPECT_TRUE(idle.closed());
  EXPECT_TRUE(slow.closed());
  EXPECT_TRUE(body.closed());
}

TEST_F(DoorTest, TooManyConnectionsAreRefused) {
  serve({.max_connections = 1});
  HttpClient first(port_);
  first.send(request("GET /healthz"));
  EXPECT_EQ(first.reply().status, 200);
  HttpClient second(port_);
  const HttpReply refused = second.reply();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.parsed()["code"], "unavailable");
}

TEST_F(DoorTest, DestroyingItEndsARequest) {
  serve();
  api_.never_answers("run");
  HttpClient client(port_);
  client.send(request("POST /v1/sessions/s1/execute", kAnna, R"({"code":""})"));
  ASSERT_TRUE(api_.wait_for_calls(1));
  stop();
  EXPECT_TRUE(client.closed());
}

// --- files ---------------------------------------------------------------------------------------

TEST_F(DoorTest, AnUploadIsPassedOnInPieces) {
  serve({.max_file = 3u << 20});
  const std::string megabyte(1u << 20, 'm');
  api_.will("get", Problem{ProblemCode::kNotFound, "no such file"});
  EXPECT_EQ(ask("PUT /v1/sessions/s1/files/a", kAnna, megabyte + "end").status, 201);
  const std::vector<std::string> calls = api_.calls();
  ASSERT_EQ(calls.size(), 3u);
  EXPECT_EQ(calls[1], R"(anna put {"offset":0,"path":"a","session":"s1"} )" + megabyte);
  EXPECT_EQ(calls[2], R"(anna put {"offset":1048576,"path":"a","session":"s1"} end)");
  EXPECT_EQ(ask("PUT /v1/sessions/s1/files/a").status, 204);
  EXPECT_EQ(api_.last_call(), R"(anna put {"offset":0,"path":"a","session":"s1"})");
  EXPECT_EQ(
      ask("PUT /v1/sessions/s1/files/a", std::string(kAnna) + "Content-Length: 3145729\r\n").status,
      413);
  api_.will("put", Problem{ProblemCode::kForbidden, "only to be looked at"});
  EXPECT_EQ(ask("PUT /v1/sessions/s1/files/a", kAnna, "x").status, 403);
}

TEST_F(DoorTest, ADownloadComesInPieces) {
  serve();
  const std::string first(1u << 20, 'f');
  api_.will("get", Answer{{{"size", 1048579}, {"eof", false}}, first});
  api_.will("get", Answer{{{"size", 1048579}, {"eof", true}}, "end"});
  const HttpReply reply = ask("GET /v1/sessions/s1/files/a%20b");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, first + "end");
  EXPECT_EQ(reply.headers.at("content-type"), "application/octet-stream");
  EXPECT_EQ(reply.headers.at("content-disposition"), "attachment");
  EXPECT_EQ(api_.last_call(),
            R"(anna get {"length":3,"offset":1048576,"path":"a b","session":"s1"})");
  api_.will("get", Answer{{{"size", 9}, {"eof", false}}, "x"});
  EXPECT_EQ(ask("HEAD /v1/sessions/s1/files/a").headers.at("content-length"), "9");
  // A file that shrinks: the client must not take it for complete.
  HttpClient client(port_);
  api_.will("get", Answer{{{"size", 4}, {"eof", false}}, "ab"});
  api_.will("get", Answer{{{"size", 2}, {"eof", true}}, ""});
  client.send(request("GET /v1/sessions/s1/files/a", kAnna));
  EXPECT_TRUE(client.rest().ends_with("\r\n\r\nab"));
}

// --- server-sent events --------------------------------------------------------------------------

TEST_F(DoorTest, ACellIsStreamed) {
  serve({.comment_interval = milliseconds(20)});
  HttpClient client(port_);
  client.send(request("POST /v1/sessions/s1/execute",
                      std::string(kAnna) + "Accept: text/event-stream\r\n", R"({"code":"1"})"));
  EXPECT_EQ(client.reply(false).headers.at("content-type"), "text/event-stream");
  EXPECT_EQ(api_.calls(),
            (std::vector<std::string>{R"(anna info {"session":"s1"})",
                                      R"(anna join {"after":0,"session":"s1"})",
                                      R"(anna execute {"code":"1","session":"s1"})"}));
  EXPECT_NE(client.until(":\n\n\r\n3\r\n:\n\n"), "");  // a second one: nothing has happened
  api_.happen("stdout", 6, "{}", "another cell");
  api_.happen("stdout", 7, "{}", "hello");
  api_.happen("done", 7, R"({"status":"ok"})");
  const std::string rest = client.until("0\r\n\r\n");
  EXPECT_EQ(rest.find("another"), std::string::npos);
  EXPECT_NE(rest.find("id: 2\nevent: stdout\ndata: {\"cell\":7,\"data\":\"hello\",\"seq\":2,"
                      "\"type\":\"stdout\"}\n\n"),
            std::string::npos)
      << rest;
  EXPECT_NE(rest.find("id: 3\nevent: done\n"), std::string::npos);
  EXPECT_TRUE(api_.wait_until_left());
  client.send(request("GET /healthz"));
  EXPECT_EQ(client.reply().status, 200);
}

TEST_F(DoorTest, ACellThatCannotBeginIsAProblem) {
  serve();
  api_.will("execute", Problem{ProblemCode::kForbidden, "only to be looked at"});
  EXPECT_EQ(ask("POST /v1/sessions/s1/execute",
                std::string(kAnna) + "Accept: text/event-stream\r\n", R"({"code":"1"})")
                .status,
            403);
  EXPECT_TRUE(api_.wait_until_left());
}

// --- TLS -----------------------------------------------------------------------------------------

// A key and a certificate for nobody.
std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> make_context() {
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> out(SSL_CTX_new(TLS_server_method()),
                                                        SSL_CTX_free);
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_sign(certificate, key, EVP_sha256());
  EXPECT_EQ(SSL_CTX_use_certificate(out.get(), certificate), 1);
  EXPECT_EQ(SSL_CTX_use_PrivateKey(out.get(), key), 1);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return out;
}

TEST_F(DoorTest, SpeaksTls) {
  const auto context = make_context();
  serve({.secure = true}, [&] {
    SSL_CTX_up_ref(context.get());
    return context.get();
  });
  HttpClient client(port_);
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> own(SSL_CTX_new(TLS_client_method()),
                                                        SSL_CTX_free);
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(own.get()), SSL_free);
  SSL_set_fd(ssl.get(), client.fd());
  ASSERT_EQ(SSL_connect(ssl.get()), 1);
  const std::string question = request("GET /healthz", "Connection: close\r\n");
  ASSERT_EQ(SSL_write(ssl.get(), question.data(), static_cast<int>(question.size())),
            static_cast<int>(question.size()));
  std::string answer;
  char bytes[4096];
  for (int got; (got = SSL_read(ssl.get(), bytes, sizeof(bytes))) > 0;)
    answer.append(bytes, static_cast<size_t>(got));
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK")) << answer;
  EXPECT_EQ(SSL_get_shutdown(ssl.get()) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
  HttpClient plain(port_);
  plain.send(request("GET /healthz"));
  EXPECT_EQ(plain.rest().find("HTTP/"), std::string::npos);
}

}  // namespace
}  // namespace brood
