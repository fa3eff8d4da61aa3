#include "http/server.h"

#include "http/fake_door.h"

namespace brood {
namespace {

struct Case {
  const char* line;
  const char* body;
  int status;
  const char* call;  // what arrives at the Api
};

// Every route of docs/http.md that is one call.
constexpr Case kCases[] = {
    {"GET /v1/environments", "", 200, "environments {}"},
    {"GET /v1/sessions", "", 200, "sessions {}"},
    {"POST /v1/sessions", R"({"env":"math"})", 201, R"(new {"env":"math"})"},
    {"POST /v1/sessions", "", 201, "new {}"},
    {"GET /v1/sessions/s1", "", 200, R"(info {"session":"s1"})"},
    {"PATCH /v1/sessions/s1", R"({"name":"n"})", 200, R"(rename {"name":"n","session":"s1"})"},
    {"DELETE /v1/sessions/s1", "", 204, R"(remove {"session":"s1"})"},
    {"POST /v1/sessions/s1/execute", R"({"code":"1"})", 200, R"(run {"code":"1","session":"s1"})"},
    {"POST /v1/sessions/s1/interrupt", "", 204, R"(interrupt {"session":"s1"})"},
    {"POST /v1/sessions/s1/signal", R"({"signal":2})", 204,
     R"(signal {"session":"s1","signal":2})"},
    {"POST /v1/sessions/s1/undo", R"({"steps":2})", 200, R"(undo {"session":"s1","steps":2})"},
    {"POST /v1/sessions/s1/fork", R"({"at":3})", 201, R"(fork {"at":3,"session":"s1"})"},
    {"POST /v1/sessions/s1/stdin", R"({"data":"hello","eof":true})", 204,
     R"(stdin {"eof":true,"session":"s1"} hello)"},
    {"POST /v1/sessions/s1/message", R"({"base64":"aGVsbG8="})", 204,
     R"(message {"session":"s1"} hello)"},
    {"POST /v1/sessions/s1/complete", R"({"code":"a","cursor":1})", 200,
     R"(complete {"code":"a","cursor":1,"session":"s1"})"},
    {"POST /v1/sessions/s1/inspect", R"({"code":"a","cursor":1})", 200,
     R"(inspect {"code":"a","cursor":1,"session":"s1"})"},
    {"GET /v1/sessions/s1/checkpoints", "", 200, R"(checkpoints {"session":"s1"})"},
    {"GET /v1/sessions/s1/checkpoints?memory=1", "", 200,
     R"(checkpoints {"memory":true,"session":"s1"})"},
    {"POST /v1/sessions/s1/share", R"({"with":"*","access":"view"})", 200,
     R"(share {"access":"view","session":"s1","with":"*"})"},
    {"GET /v1/sessions/s1/files", "", 200, R"(files {"session":"s1"})"},
    {"GET /v1/sessions/s1/files/", "", 200, R"(files {"session":"s1"})"},
    {"GET /v1/sessions/s1/files/a/b%20c/", "", 200, R"(files {"path":"a/b c","session":"s1"})"},
    {"DELETE /v1/sessions/s%201/files/a%2Fb", "", 204, R"(delete {"path":"a/b","session":"s 1"})"},
};

TEST_F(HttpTest, EveryRouteIsItsMethod) {
  serve();
  for (const Case& one : kCases) {
    const HttpReply reply = ask(one.line, kAnna, one.body);
    EXPECT_EQ(reply.status, one.status) << one.line << reply.body;
    EXPECT_EQ(api_.last_call(), std::string("anna ") + one.call);
    if (one.status == 204)
      EXPECT_EQ(reply.headers.count("content-length"), 0u);
    else
      EXPECT_TRUE(reply.parsed().is_object()) << one.line;
    if (one.status == 201) {
      EXPECT_EQ(reply.headers.at("location"), "/v1/sessions/s%2F1");
      EXPECT_EQ(reply.parsed()["id"], "s/1");
    }
  }
  EXPECT_EQ(ask("POST /v1/sessions/s1/fork").parsed()["us"], 5);
}

TEST_F(HttpTest, NobodyWithoutCredentialsComesToTheApi) {
  serve();
  for (const Case& one : kCases)
    for (const char* who : {"", "Authorization: Bearer wrong\r\n", "Authorization: Basic x\r\n",
                            "Cookie: brood=wrong\r\n"}) {
      const HttpReply reply = ask(one.line, who, one.body);
      EXPECT_EQ(reply.status, 401) << one.line << " " << who;
      EXPECT_EQ(reply.parsed()["code"], "unauthorized");
      EXPECT_EQ(reply.headers.count("www-authenticate"), 1u);
    }
  EXPECT_TRUE(api_.calls().empty());
}

TEST_F(HttpTest, ProblemsHaveTheirStatus) {
  serve();
  const std::pair<ProblemCode, int> expected[] = {
      {ProblemCode::kBadRequest, 400}, {ProblemCode::kUnauthorized, 401},
      {ProblemCode::kForbidden, 403},  {ProblemCode::kNotFound, 404},
      {ProblemCode::kBusy, 409},       {ProblemCode::kEnded, 409},
      {ProblemCode::kLimit, 429},      {ProblemCode::kUnavailable, 503},
      {ProblemCode::kTimeout, 504},    {ProblemCode::kInternal, 500}};
  for (const auto& [code, status] : expected) {
    api_.will("info", Problem{code, "some text"});
    const HttpReply reply = ask("GET /v1/sessions/s1");
    EXPECT_EQ(reply.status, status);
    EXPECT_EQ(reply.headers.at("content-type"), "application/problem+json");
    EXPECT_EQ(reply.parsed()["code"], name_of(code));
    EXPECT_EQ(reply.parsed()["detail"], "some text");
    EXPECT_EQ(reply.parsed()["status"], status);
  }
}

}  // namespace
}  // namespace brood
