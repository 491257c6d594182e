// Whether a message came compressed: gRPC C++ tells its own interop tests only, through these friends of the contexts.
#pragma once

#include <grpcpp/grpcpp.h>

// Exported by libgrpc, declared in none of its public headers.
uint32_t grpc_call_test_only_get_message_flags(grpc_call* call);

namespace grpc {
namespace testing {

// Set by the filter that has unpacked the message, or by the wire.
constexpr uint32_t kWasCompressed = 0x40000000u | 0x80000000u;

class InteropServerContextInspector {
 public:
  static bool WasCompressed(const ServerContext& context) {
    return grpc_call_test_only_get_message_flags(context.call_.call) & kWasCompressed;
  }
};

class InteropClientContextInspector {
 public:
  static bool WasCompressed(const ClientContext& context) {
    return grpc_call_test_only_get_message_flags(context.call_) & kWasCompressed;
  }
};

}  // namespace testing
}  // namespace grpc
