#include "http/connection.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "http/responses.h"
#include "http/transport.h"
#include "http/websocket.h"

namespace brood {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

constexpr uint32_t kMaxHeader = 16u << 10;  // bytes
constexpr size_t kReadSize = 64u << 10;     // bytes
constexpr size_t kMaxBuffer = 4 * kReadSize;
constexpr size_t kMaxLinger = 64u << 20;  // bytes that a client may send after the last answer

std::string text_of(boost::beast::string_view text) { return {text.data(), text.size()}; }

// As brood wants every answer to be understood, whatever it holds.
void add_policies(http::response<http::empty_body>& out, const Response& response) {
  out.set("X-Content-Type-Options", "nosniff");
  out.set("Referrer-Policy", "no-referrer");
  out.set("Cross-Origin-Opener-Policy", "same-origin");
  out.set("Cross-Origin-Resource-Policy", "same-origin");
  out.set("Content-Security-Policy", response.policy);
  out.set("Cache-Control", "no-store");  // unless it says otherwise
  for (const auto& [name, value] : response.headers)
    out.set(name, value);
}

// The header as it goes over the wire.
std::string serialize(const http::response<http::empty_body>& header) {
  http::response_serializer<http::empty_body> serializer(header);
  std::string out;
  error_code error;
  while (!error && !serializer.is_header_done())
    serializer.next(error, [&](error_code&, const auto& buffers) {
      for (const boost::asio::const_buffer piece : boost::beast::buffers_range_ref(buffers))
        out.append(static_cast<const char*>(piece.data()), piece.size());
      serializer.consume(boost::asio::buffer_size(buffers));
    });
  return out;
}

std::string hex(size_t number) {
  std::string out;
  do
    out.insert(out.begin(), "0123456789abcdef"[number % 16]);
  while (number /= 16);
  return out;
}

// The client has said something that is no HTTP; else it has gone, or fell silent.
bool is_malformed(error_code error) {
  return error.category() == make_error_code(http::error::bad_method).category() &&
         error != http::error::end_of_stream && error != http::error::partial_message;
}

class HttpConnection final : public Connection,
                             private Exchange,
                             public std::enable_shared_from_this<HttpConnection> {
 private:
  // Keeps the connection alive for an operation; does nothing once it has ended.
  template <typename Handler>
  auto wrap(Handler handler) {
    return [self = shared_from_this(), handler = std::move(handler)](auto... arguments) mutable {
      if (self->closed_) handler(arguments...);
    };
  }
  template <typename Handler>
  void post(Handler handler) {
    boost::asio::post(services_.io, wrap(std::move(handler)));
  }

 public:
  HttpConnection(Services& services, const ResponderFactory& factory, Fd socket, HttpPeer peer,
                 SSL_CTX* context, std::function<void()> closed)
      : services_(services),
        factory_(factory),
        transport_(std::make_shared<HttpTransport>(services.io, std::move(socket), context)),
        deadline_(services.io),
        closed_(std::move(closed)) {
    head_.peer = std::move(peer.address);
    head_.local_address = std::move(peer.local_address);
    head_.loopback = peer.loopback;
  }

  void start() override {
    if (!transport_->is_tls()) return next_request();
    expire_after(services_.options.header_timeout);
    transport_->async_handshake(wrap([this](error_code error) {
      if (error) return end();
      next_request();
    }));
  }

  void leave() override {
    leaving_ = true;
    if (socket_) return socket_->leave();
    if (!responder_ && !lingering_) end();
  }

  void close() override {
    if (!closed_) return;
    closed_ = nullptr;
    if (socket_) socket_->close();
    responder_.reset();
    deadline_.cancel();
    transport_->close();
  }

 private:
  void end() {
    if (!closed_) return;
    const std::function<void()> closed = closed_;
    close();
    closed();
  }

  void expire_after(HttpOptions::Time time) {
    deadline_.expires_after(time);
    deadline_.async_wait(wrap([this](error_code error) {
      if (!error) end();
    }));
  }

  // --- the request -------------------------------------------------------------------------------

  void next_request() {
    responder_.reset();
    if (leaving_) return end();
    parser_.emplace();
    parser_->header_limit(kMaxHeader);
    parser_->body_limit(std::numeric_limits<uint64_t>::max());  // each route has its own
    if (buffer_.size() > 0) return read_header();
    expire_after(services_.options.idle_timeout);
    transport_->async_read_some(buffer_.prepare(kReadSize),
                                wrap([this](error_code error, size_t n) {
                                  if (error) return end();
                                  buffer_.commit(n);
                                  read_header();
                                }));
  }

  void read_header() {
    expire_after(services_.options.header_timeout);
    http::async_read_header(*transport_, buffer_, *parser_, wrap([this](error_code error, size_t) {
      deadline_.cancel();
      if (!error) return got_header();
      if (!is_malformed(error)) return end();
      const bool long_header =
          error == http::error::header_limit || error == http::error::buffer_overflow;
      malformed(long_header ? 431 : 400,
                long_header ? "the header is longer than 16384 bytes" : error.message());
    }));
  }

  // The client's next words cannot be found any more.
  void malformed(unsigned status, const std::string& text) {
    responder_.reset();
    head_.verb.clear();
    keep_alive_ = false;
    answer(problem_response(status, text));
  }

  void got_header() {
    const auto& request = parser_->get();
    head_.verb = text_of(request.method_string());
    head_.target = text_of(request.target());
    head_.host = text_of(request[http::field::host]);
    head_.origin = text_of(request[http::field::origin]);
    head_.authorization = text_of(request[http::field::authorization]);
    head_.cookie = text_of(request[http::field::cookie]);
    head_.content_type = text_of(request[http::field::content_type]);
    head_.accept = text_of(request[http::field::accept]);
    head_.accept_encoding = text_of(request[http::field::accept_encoding]);
    head_.if_none_match = text_of(request[http::field::if_none_match]);
    head_.content_length.reset();
    if (const auto length = parser_->content_length()) head_.content_length = *length;
    head_.has_body = !parser_->is_done() && (parser_->chunked() || head_.content_length > 0u);
    head_.upgrade = boost::beast::websocket::is_upgrade(request);
    head_.old = request.version() < 11;
    keep_alive_ = request.keep_alive();
    wants_continue_ = boost::beast::iequals(request[http::field::expect], "100-continue");
    if (request.count(http::field::host) > 1) return malformed(400, "expected one Host header");
    // Where a body ends is not guessed at: the rest could pass for the next request.
    const size_t codings = request.count(http::field::transfer_encoding);
    const auto coding = request[http::field::transfer_encoding];
    if (codings > 1 || (codings == 1 && !boost::beast::iequals(coding, "chunked")))
      return malformed(400, "expected no Transfer-Encoding but chunked");
    const auto content = request[http::field::content_encoding];
    if (!content.empty() && !boost::beast::iequals(content, "identity"))
      return malformed(415, "expected a body without Content-Encoding");
    responder_ = factory_(*this);
    responder_->start();
  }

  // --- Exchange ----------------------------------------------------------------------------------

  const RequestHead& head() const override { return head_; }

  void read_body(size_t most, Piece done) override {
    piece_.clear();
    most_ = most;
    piece_done_ = std::move(done);
    expire_after(services_.options.idle_timeout);
    if (parser_->is_done()) return post([this] { give_piece(true); });
    if (!std::exchange(wants_continue_, false)) return read_more();
    send("HTTP/1.1 100 Continue\r\n\r\n", [this] { read_more(); });
  }

  void read_more() {
    chunk_.resize(kReadSize);
    auto& body = parser_->get().body();
    body.data = chunk_.data();
    body.size = std::min(kReadSize, most_ - piece_.size());
    body.more = true;
    const size_t room = body.size;
    http::async_read_some(*transport_, buffer_, *parser_,
                          wrap([this, room](error_code error, size_t) { got_some(error, room); }));
  }

  void got_some(error_code error, size_t room) {
    if (error == http::error::need_buffer) error = {};
    if (error && !is_malformed(error)) return end();
    if (error) return malformed(400, "the body: " + error.message());
    piece_.append(chunk_.data(), room - parser_->get().body().size);
    if (parser_->is_done()) return give_piece(true);
    if (piece_.size() == most_) return give_piece(false);
    read_more();
  }

  void give_piece(bool last) {
    deadline_.cancel();
    std::exchange(piece_done_, nullptr)(std::move(piece_), last);
  }

  void answer(Response response) override {
    auto header = make_header(response);
    const bool empty = response.status == 204 || response.status == 304;
    if (!empty) header.content_length(response.body.size());
    header.keep_alive(keep_alive_);
    std::string out = serialize(header);
    if (!empty && head_.verb != "HEAD") out += response.body;
    send(std::move(out), [this] { next_or_last(); });
  }

  // A body that nobody has read stands before the next request.
  http::response<http::empty_body> make_header(const Response& response) {
    ++services_.counters.answers[std::min(response.status / 100, 5u)];
    keep_alive_ = keep_alive_ && !leaving_ && parser_->is_done();
    http::response<http::empty_body> out(static_cast<http::status>(response.status), version());
    if (!response.type.empty()) out.set(http::field::content_type, response.type);
    add_policies(out, response);
    return out;
  }

  unsigned version() const { return parser_->is_header_done() ? parser_->get().version() : 11; }

  void begin(Response response, std::optional<uint64_t> length) override {
    auto header = make_header(response);
    chunked_ = !length && version() >= 11;
    if (!length && !chunked_) keep_alive_ = false;
    if (length) header.content_length(*length);
    if (chunked_) header.chunked(true);
    header.keep_alive(keep_alive_);
    prefix_ = serialize(header);
  }

  void write(std::string bytes, std::function<void()> written) override {
    std::string out = std::exchange(prefix_, {});
    if (head_.verb != "HEAD" && !bytes.empty()) {
      if (chunked_) out += hex(bytes.size()) + "\r\n";
      out += bytes;
      if (chunked_) out += "\r\n";
    }
    send(std::move(out), std::move(written));
  }

  void finish() override {
    std::string out = std::exchange(prefix_, {});
    if (chunked_ && head_.verb != "HEAD") out += "0\r\n\r\n";
    chunked_ = false;
    send(std::move(out), [this] { next_or_last(); });
  }

  void abort() override {
    post([this] { end(); });
  }

  void upgrade(std::unique_ptr<TextSocket::Handler> handler) override {
    auto shared = std::make_shared<std::unique_ptr<TextSocket::Handler>>(std::move(handler));
    post([this, shared] {
      responder_.reset();
      if (buffer_.size() > 0) return malformed(400, "a WebSocket's client waits for the answer");
      ++services_.counters.answers[1];
      socket_ = make_websocket(services_, transport_, std::move(*shared), wrap([this] { end(); }));
      socket_->start(parser_->get());
    });
  }

  // --- writing and the end -----------------------------------------------------------------------

  void send(std::string bytes, std::function<void()> done) {
    outgoing_ = std::move(bytes);
    sent_ = 0;
    send_done_ = std::move(done);
    if (outgoing_.empty()) return post([this] { sent_all(); });
    send_some();
  }

  void send_some() {
    expire_after(services_.options.idle_timeout);
    transport_->async_write_some(boost::asio::buffer(outgoing_) + sent_,
                                 wrap([this](error_code error, size_t n) {
                                   if (error) return end();
                                   sent_ += n;
                                   if (sent_ < outgoing_.size()) return send_some();
                                   sent_all();
                                 }));
  }

  void sent_all() {
    deadline_.cancel();
    std::string().swap(outgoing_);
    std::exchange(send_done_, nullptr)();
  }

  void next_or_last() {
    if (keep_alive_) return next_request();
    responder_.reset();
    lingering_ = true;
    expire_after(services_.options.linger);
    if (transport_->is_tls())
      return transport_->async_shutdown(wrap([this](error_code) { end(); }));
    transport_->shutdown_send();
    discard(0);
  }

  // A client that is still sending would lose the answer if its data met a closed socket.
  void discard(size_t count) {
    chunk_.resize(kReadSize);
    transport_->async_read_some(boost::asio::buffer(chunk_),
                                wrap([this, count](error_code error, size_t n) {
                                  if (error || count + n > kMaxLinger) return end();
                                  discard(count + n);
                                }));
  }

  Services& services_;
  const ResponderFactory& factory_;
  const std::shared_ptr<HttpTransport> transport_;
  boost::asio::steady_timer deadline_;
  std::function<void()> closed_;  // none: has ended
  boost::beast::flat_buffer buffer_{kMaxBuffer};
  std::optional<http::request_parser<http::buffer_body>> parser_;
  RequestHead head_;
  std::unique_ptr<Responder> responder_;
  std::shared_ptr<WebSocketLink> socket_;

  std::vector<char> chunk_;
  std::string piece_;  // of the body, being read
  size_t most_ = 0;    // bytes of it
  Piece piece_done_;

  std::string prefix_;  // the header, until the first part of the body
  std::string outgoing_;
  size_t sent_ = 0;
  std::function<void()> send_done_;

  bool keep_alive_ = false, wants_continue_ = false, chunked_ = false;
  bool leaving_ = false, lingering_ = false;
};

}  // namespace

std::shared_ptr<Connection> make_connection(Services& services, const ResponderFactory& factory,
                                            Fd socket, HttpPeer peer, ssl_ctx_st* context,
                                            std::function<void()> closed) {
  return std::make_shared<HttpConnection>(services, factory, std::move(socket), std::move(peer),
                                          context, std::move(closed));
}

}  // namespace brood
