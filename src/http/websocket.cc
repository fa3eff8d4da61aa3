#include "http/websocket.h"

#include "base/clock.h"

namespace brood {
namespace {

namespace websocket = boost::beast::websocket;
using boost::system::error_code;

constexpr size_t kMaxReason = 120;  // bytes; RFC 6455 leaves 123
constexpr uint16_t kGoingAway = 1001, kTextOnly = 1003;

class Link final : public WebSocketLink,
                   private TextSocket,
                   public std::enable_shared_from_this<Link> {
 public:
  Link(Services& services, std::shared_ptr<HttpTransport> transport,
       std::unique_ptr<TextSocket::Handler> handler, std::function<void()> closed)
      : services_(services),
        transport_(std::move(transport)),
        socket_(*transport_),
        timer_(services.io),
        handler_(std::move(handler)),
        closed_(std::move(closed)) {
    ++services_.counters.websockets;
  }

  void start(const UpgradeRequest& request) override {
    websocket::stream_base::timeout timeout{};
    timeout.handshake_timeout = services_.options.header_timeout;
    timeout.idle_timeout = websocket::stream_base::none();
    timeout.keep_alive_pings = false;
    socket_.set_option(timeout);
    socket_.read_message_max(services_.options.max_body);
    socket_.auto_fragment(false);
    socket_.control_callback([this](auto, auto) { heard_ns_ = monotonic_ns(); });
    socket_.async_accept(request, [self = shared_from_this()](error_code error) {
      if (error) return self->end();
      if (self->closed_) self->opened();
    });
  }

  void leave() override {
    if (handler_) close(kGoingAway, "the server leaves");
  }

  void close() override {
    if (!closed_) return;
    closed_ = nullptr;
    handler_.reset();
    timer_.cancel();
    transport_->close();
    --services_.counters.websockets;
  }

 private:
  void opened() {
    open_ = true;
    heard_ns_ = monotonic_ns();
    ping_later();
    read();
    if (closing_) return close_now();
    handler_->on_open(*this);
  }

  void read() {
    socket_.async_read(buffer_, [self = shared_from_this()](error_code error, size_t) {
      if (error) return self->end();
      if (self->closed_) self->received();
    });
  }

  void received() {
    heard_ns_ = monotonic_ns();
    if (!closing_ && !socket_.got_text()) close(kTextOnly, "expected text messages");
    if (!closing_)
      handler_->on_message({static_cast<const char*>(buffer_.data().data()), buffer_.size()});
    buffer_.consume(buffer_.size());
    if (buffer_.capacity() > kKept) buffer_.shrink_to_fit();
    read();
  }

  // --- TextSocket --------------------------------------------------------------------------------

  void send(std::string text) override {
    if (closing_) return;
    outgoing_ = std::move(text);
    writing_ = true;
    socket_.text(true);
    socket_.async_write(boost::asio::buffer(outgoing_),
                        [self = shared_from_this()](error_code error, size_t) {
                          self->writing_ = false;
                          if (error) return self->end();
                          if (!self->closed_) return;
                          if (self->closing_) return self->close_now();
                          self->handler_->on_sent();
                        });
  }

  void close(uint16_t code, const std::string& reason) override {
    if (closing_) return;
    closing_ = true;
    reason_.code = code;
    reason_.reason = reason.substr(0, kMaxReason);
    timer_.expires_after(services_.options.linger);
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->end();
    });
    if (open_ && !writing_) close_now();
  }

  void close_now() {
    socket_.async_close(reason_, [self = shared_from_this()](error_code) { self->end(); });
  }

  // --- pings -------------------------------------------------------------------------------------

  void ping_later() {
    timer_.expires_after(services_.options.ping_interval);
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (!error && self->closed_ && !self->closing_) self->ping();
    });
  }

  void ping() {
    const std::chrono::nanoseconds silence(monotonic_ns() - heard_ns_);
    if (silence > services_.options.ping_timeout) return end();
    if (auto verdict = handler_->on_ping()) return close(verdict->first, verdict->second);
    ping_later();
    if (pinging_) return;
    pinging_ = true;
    socket_.async_ping({}, [self = shared_from_this()](error_code) { self->pinging_ = false; });
  }

  void end() {
    if (!closed_) return;
    const std::function<void()> closed = closed_;
    close();
    closed();
  }

  static constexpr size_t kKept = 64u << 10;  // bytes of a buffer that is used again

  Services& services_;
  const std::shared_ptr<HttpTransport> transport_;
  websocket::stream<HttpTransport&> socket_;
  boost::asio::steady_timer timer_;  // of the next ping, or of closing
  std::unique_ptr<TextSocket::Handler> handler_;
  std::function<void()> closed_;  // none: has ended
  boost::beast::flat_buffer buffer_;
  std::string outgoing_;
  websocket::close_reason reason_;
  int64_t heard_ns_ = 0;
  bool open_ = false, writing_ = false, closing_ = false, pinging_ = false;
};

}  // namespace

std::shared_ptr<WebSocketLink> make_websocket(Services& services,
                                              std::shared_ptr<HttpTransport> transport,
                                              std::unique_ptr<TextSocket::Handler> handler,
                                              std::function<void()> closed) {
  return std::make_shared<Link>(services, std::move(transport), std::move(handler),
                                std::move(closed));
}

}  // namespace brood
