// Exchange: one request and its answer, as those who answer see them; the connection implements it.
// Server process, its one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace brood {

// What brood looks at of a request's header.
struct RequestHead {
  std::string verb;    // as written
  std::string target;  // as written
  std::string host, origin, authorization, cookie, content_type, accept, accept_encoding,
      if_none_match;
  std::optional<uint64_t> content_length;  // none: no body, or one in chunks
  bool has_body = false;
  bool upgrade = false;       // asks for a WebSocket
  bool old = false;           // HTTP/1.0, where Host may be missing
  std::string peer;           // the client's address, without its port
  std::string local_address;  // the server's end
  bool loopback = false;      // the client is on this machine
};

struct Response {
  unsigned status = 200;
  std::string type;  // of the body
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string policy = "default-src 'none'; frame-ancestors 'none'";  // Content-Security-Policy
};

// The messages of an upgraded connection.
class TextSocket {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;
    // Upgraded; may send now.
    virtual void on_open(TextSocket& socket) = 0;
    virtual void on_message(std::string_view text) = 0;
    // What was sent last is with the system; send() may be called again.
    virtual void on_sent() = 0;
    // Before each ping: whether the client may stay. A close code and its reason, or nothing.
    virtual std::optional<std::pair<uint16_t, std::string>> on_ping() = 0;
  };

  // One message at a time: on_sent() must have come. Nothing happens once close() was called.
  virtual void send(std::string text) = 0;
  // After what is being sent; the handler hears no more of the client.
  virtual void close(uint16_t code, const std::string& reason) = 0;

 protected:
  ~TextSocket() = default;
};

// Exactly one of answer(), begin() and upgrade() is called. Everything that is given a function
// calls it from the event loop, never from within; not at all when the client has gone: then the
// one who answers is destroyed.
class Exchange {
 public:
  virtual const RequestHead& head() const = 0;

  // A piece of the body: `most` bytes, or less if it is the last one. Not after the last one.
  using Piece = std::function<void(std::string bytes, bool last)>;
  virtual void read_body(size_t most, Piece done) = 0;

  virtual void answer(Response response) = 0;

  // An answer in parts: begin(), write() one after the other, finish(). `length`: of the body;
  // none: it is not known.
  virtual void begin(Response head, std::optional<uint64_t> length) = 0;
  virtual void write(std::string bytes, std::function<void()> written) = 0;
  virtual void finish() = 0;
  // Cannot be completed: the connection is closed so that the client sees it.
  virtual void abort() = 0;

  virtual void upgrade(std::unique_ptr<TextSocket::Handler> handler) = 0;

 protected:
  ~Exchange() = default;
};

// Answers one exchange; destroyed when the answer is written, or cannot be.
class Responder {
 public:
  virtual ~Responder() = default;
  virtual void start() = 0;  // called once
};
// Called for each request; the exchange outlives the responder.
using ResponderFactory = std::function<std::unique_ptr<Responder>(Exchange&)>;

}  // namespace brood
