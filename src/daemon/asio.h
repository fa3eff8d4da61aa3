// Boost.Asio, whose names meet the macro of base/require.h. Everybody here includes it from this
// file.
#pragma once

#include <utility>  // which Boost 1.74's asio/awaitable.hpp uses and does not include

#pragma push_macro("require")
#undef require
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#pragma pop_macro("require")
