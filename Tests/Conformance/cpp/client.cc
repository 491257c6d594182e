// gRPC's interop cases on gRPC C++: a stranger's client for our server.
//
//   interop-client --case NAME --port N [--iterations N] [--no-probe]
//   interop-client --load SECONDS --port N --next-port N

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "flags.h"
#include "grpc/testing/test.grpc.pb.h"
#include "load.h"

namespace {

using grpc::ClientContext;
using grpc::Status;
using grpc::StatusCode;
using namespace grpc::testing;

constexpr int kLargeRequest = 271828;
constexpr int kLargeResponse = 314159;
const std::vector<int> kRequests = {27182, 8, 1828, 45904};
const std::vector<int> kResponses = {31415, 9, 2653, 58979};

struct Arguments {
  std::string name;
  double load_seconds = 0;
  int port = 0;
  int next_port = 0;
  int iterations = 1000;
  bool probes = true;
};

void Expect(bool condition, const std::string& reason) {
  if (!condition) throw std::runtime_error(reason);
}

void ExpectCode(const Status& status, StatusCode code) {
  Expect(
      status.error_code() == code, "status " + std::to_string(code) + " expected, " +
                                       std::to_string(status.error_code()) + " came: " + status.error_message());
}

void ExpectPayload(const Payload& payload, size_t size) {
  Expect(payload.body().size() == size, "a payload of " + std::to_string(payload.body().size()) + " bytes came");
  Expect(payload.body().find_first_not_of('\0') == std::string::npos, "the payload has other bytes than zeros");
}

SimpleRequest Large() {
  SimpleRequest request;
  request.set_response_size(kLargeResponse);
  request.mutable_payload()->set_body(std::string(kLargeRequest, '\0'));
  return request;
}

StreamingOutputCallRequest Output(const std::vector<int>& responses, int request_size) {
  StreamingOutputCallRequest request;
  for (int size : responses) request.add_response_parameters()->set_size(size);
  if (request_size >= 0) request.mutable_payload()->set_body(std::string(request_size, '\0'));
  return request;
}

class Cases {
 public:
  explicit Cases(const Arguments& arguments) : arguments_(arguments), channel_(Connect()), stub_(Stub(channel_)) {}

  void EmptyUnary() {
    auto context = Context();
    Empty answer;
    ExpectCode(stub_->EmptyCall(context.get(), Empty(), &answer), StatusCode::OK);
  }

  void LargeUnary() { LargeUnary(stub_.get()); }

  void ClientStreaming() {
    auto context = Context();
    StreamingInputCallResponse answer;
    auto writer = stub_->StreamingInputCall(context.get(), &answer);
    for (int size : kRequests) {
      StreamingInputCallRequest request;
      request.mutable_payload()->set_body(std::string(size, '\0'));
      Expect(writer->Write(request), "the stream broke");
    }
    writer->WritesDone();
    ExpectCode(writer->Finish(), StatusCode::OK);
    Expect(answer.aggregated_payload_size() == 74922, "another sum came");
  }

  void ServerStreaming() {
    auto context = Context();
    auto reader = stub_->StreamingOutputCall(context.get(), Output(kResponses, -1));
    StreamingOutputCallResponse answer;
    size_t count = 0;
    while (reader->Read(&answer)) {
      Expect(count < kResponses.size(), "more responses came");
      ExpectPayload(answer.payload(), kResponses[count++]);
    }
    ExpectCode(reader->Finish(), StatusCode::OK);
    Expect(count == kResponses.size(), "fewer responses came");
  }

  void PingPong() {
    auto context = Context();
    auto stream = stub_->FullDuplexCall(context.get());
    StreamingOutputCallResponse answer;
    for (size_t i = 0; i < kRequests.size(); i++) {
      Expect(stream->Write(Output({kResponses[i]}, kRequests[i])), "the stream broke");
      Expect(stream->Read(&answer), "no answer came");
      ExpectPayload(answer.payload(), kResponses[i]);
    }
    stream->WritesDone();
    Expect(!stream->Read(&answer), "more answers than requests came");
    ExpectCode(stream->Finish(), StatusCode::OK);
  }

  void EmptyStream() {
    auto context = Context();
    auto stream = stub_->FullDuplexCall(context.get());
    stream->WritesDone();
    StreamingOutputCallResponse answer;
    Expect(!stream->Read(&answer), "an answer came");
    ExpectCode(stream->Finish(), StatusCode::OK);
  }

  void ClientCompressedUnary() {
    if (arguments_.probes) CompressedUnary(false, true, StatusCode::INVALID_ARGUMENT);
    CompressedUnary(true, true, StatusCode::OK);
    CompressedUnary(false, false, StatusCode::OK);
  }

  void ServerCompressedUnary() {
    for (bool compressed : {true, false}) {
      auto context = Context();
      SimpleRequest request = Large();
      request.mutable_response_compressed()->set_value(compressed);
      SimpleResponse answer;
      ExpectCode(stub_->UnaryCall(context.get(), request, &answer), StatusCode::OK);
      ExpectPayload(answer.payload(), kLargeResponse);
      Expect(InteropClientContextInspector::WasCompressed(*context) == compressed, "the flag is the opposite");
    }
  }

  void ClientCompressedStreaming() {
    if (arguments_.probes) {
      auto context = Context();
      StreamingInputCallResponse answer;
      auto writer = stub_->StreamingInputCall(context.get(), &answer);
      StreamingInputCallRequest request = Input(27182, true);
      writer->Write(request);
      writer->WritesDone();
      ExpectCode(writer->Finish(), StatusCode::INVALID_ARGUMENT);
    }
    auto context = Context();
    context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
    StreamingInputCallResponse answer;
    auto writer = stub_->StreamingInputCall(context.get(), &answer);
    Expect(writer->Write(Input(27182, true)), "the stream broke");
    Expect(writer->Write(Input(45904, false), grpc::WriteOptions().set_no_compression()), "the stream broke");
    writer->WritesDone();
    ExpectCode(writer->Finish(), StatusCode::OK);
    Expect(answer.aggregated_payload_size() == 73086, "another sum came");
  }

  void ServerCompressedStreaming() {
    auto context = Context();
    StreamingOutputCallRequest request = Output({31415, 92653}, -1);
    request.mutable_response_parameters(0)->mutable_compressed()->set_value(true);
    request.mutable_response_parameters(1)->mutable_compressed()->set_value(false);
    auto reader = stub_->StreamingOutputCall(context.get(), request);
    StreamingOutputCallResponse answer;
    int count = 0;
    for (; reader->Read(&answer); count++) {
      Expect(count < 2, "more responses came");
      ExpectPayload(answer.payload(), count == 0 ? 31415 : 92653);
      Expect(InteropClientContextInspector::WasCompressed(*context) == (count == 0), "the flag is the opposite");
    }
    ExpectCode(reader->Finish(), StatusCode::OK);
    Expect(count == 2, "fewer responses came");
  }

  void CustomMetadata() {
    {
      auto context = ContextWithMetadata();
      SimpleResponse answer;
      ExpectCode(stub_->UnaryCall(context.get(), Large(), &answer), StatusCode::OK);
      ExpectEcho(*context);
    }
    auto context = ContextWithMetadata();
    auto stream = stub_->FullDuplexCall(context.get());
    stream->Write(Output({kLargeResponse}, kLargeRequest));
    stream->WritesDone();
    StreamingOutputCallResponse answer;
    Expect(stream->Read(&answer), "no answer came");
    Expect(!stream->Read(&answer), "two answers came");
    ExpectCode(stream->Finish(), StatusCode::OK);
    ExpectEcho(*context);
  }

  void StatusCodeAndMessage() {
    ExpectUnaryStatus("test status message");
    auto context = Context();
    auto stream = stub_->FullDuplexCall(context.get());
    StreamingOutputCallRequest request;
    request.mutable_response_status()->set_code(2);
    request.mutable_response_status()->set_message("test status message");
    stream->Write(request);
    stream->WritesDone();
    StreamingOutputCallResponse answer;
    Expect(!stream->Read(&answer), "an answer came");
    ExpectStatus(stream->Finish(), "test status message");
  }

  void SpecialStatusMessage() {
    ExpectUnaryStatus("\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001F608\t\n");
  }

  void UnimplementedMethod() {
    auto context = Context();
    Empty answer;
    ExpectCode(stub_->UnimplementedCall(context.get(), Empty(), &answer), StatusCode::UNIMPLEMENTED);
  }

  void UnimplementedServiceCase() {
    auto stub = UnimplementedService::NewStub(channel_);
    auto context = Context();
    Empty answer;
    ExpectCode(stub->UnimplementedCall(context.get(), Empty(), &answer), StatusCode::UNIMPLEMENTED);
  }

  void CancelAfterBegin() {
    auto context = Context();
    StreamingInputCallResponse answer;
    auto writer = stub_->StreamingInputCall(context.get(), &answer);
    context->TryCancel();
    ExpectCode(writer->Finish(), StatusCode::CANCELLED);
  }

  void CancelAfterFirstResponse() {
    auto context = Context();
    auto stream = stub_->FullDuplexCall(context.get());
    stream->Write(Output({kResponses[0]}, kRequests[0]));
    StreamingOutputCallResponse answer;
    Expect(stream->Read(&answer), "no answer came");
    context->TryCancel();
    ExpectCode(stream->Finish(), StatusCode::CANCELLED);
  }

  void TimeoutOnSleepingServer() {
    // Connected first: the millisecond is for the call.
    EmptyUnary();
    ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(1));
    auto stream = stub_->FullDuplexCall(&context);
    StreamingOutputCallRequest request = Output({kResponses[0]}, kRequests[0]);
    request.mutable_response_parameters(0)->set_interval_us(500000);
    stream->Write(request);
    StreamingOutputCallResponse answer;
    while (stream->Read(&answer)) {
    }
    ExpectCode(stream->Finish(), StatusCode::DEADLINE_EXCEEDED);
  }

  void PickFirstUnary() {
    std::string first;
    for (int i = 0; i < 20; i++) {
      auto context = Context();
      SimpleRequest request;
      request.set_response_size(1);
      request.set_fill_server_id(true);
      SimpleResponse answer;
      ExpectCode(stub_->UnaryCall(context.get(), request, &answer), StatusCode::OK);
      if (first.empty()) first = answer.server_id();
      Expect(!first.empty() && answer.server_id() == first, "server_id is empty or has changed");
    }
  }

  void ConcurrentLargeUnary() {
    std::vector<std::thread> threads;
    std::atomic<int> failures{0};
    for (int i = 0; i < arguments_.iterations; i++) {
      threads.emplace_back([this, &failures] {
        try {
          LargeUnary();
        } catch (const std::exception& error) {
          if (failures++ == 0) std::printf("%s\n", error.what());
        }
      });
    }
    for (auto& thread : threads) thread.join();
    Expect(failures == 0, std::to_string(failures) + " calls failed");
  }

  void RpcSoak() {
    for (int i = 0; i < arguments_.iterations; i++) LargeUnary();
  }

  void ChannelSoak() {
    for (int i = 0; i < arguments_.iterations; i++) LargeUnary(Stub(Connect()).get());
  }

 private:
  using Context_ = std::unique_ptr<ClientContext>;

  std::shared_ptr<grpc::Channel> Connect() {
    grpc::ChannelArguments options;
    // A channel of its own is a connection of its own.
    options.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(
        "127.0.0.1:" + std::to_string(arguments_.port), grpc::InsecureChannelCredentials(), options);
  }

  static std::unique_ptr<TestService::Stub> Stub(const std::shared_ptr<grpc::Channel>& channel) {
    return TestService::NewStub(channel);
  }

  static Context_ Context() {
    auto context = std::make_unique<ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    return context;
  }

  static Context_ ContextWithMetadata() {
    auto context = Context();
    context->AddMetadata("x-grpc-test-echo-initial", "test_initial_metadata_value");
    context->AddMetadata("x-grpc-test-echo-trailing-bin", "\xab\xab\xab");
    return context;
  }

  static void ExpectEcho(const ClientContext& context) {
    const auto& initial = context.GetServerInitialMetadata();
    auto one = initial.find("x-grpc-test-echo-initial");
    Expect(one != initial.end() && one->second == "test_initial_metadata_value", "the initial metadata is not echoed");
    const auto& trailing = context.GetServerTrailingMetadata();
    auto two = trailing.find("x-grpc-test-echo-trailing-bin");
    Expect(two != trailing.end() && two->second == "\xab\xab\xab", "the trailing metadata is not echoed");
  }

  void LargeUnary(TestService::Stub* stub) {
    auto context = Context();
    SimpleResponse answer;
    ExpectCode(stub->UnaryCall(context.get(), Large(), &answer), StatusCode::OK);
    ExpectPayload(answer.payload(), kLargeResponse);
  }

  void CompressedUnary(bool compressed, bool expected, StatusCode code) {
    auto context = Context();
    context->set_compression_algorithm(compressed ? GRPC_COMPRESS_GZIP : GRPC_COMPRESS_NONE);
    SimpleRequest request = Large();
    request.mutable_expect_compressed()->set_value(expected);
    SimpleResponse answer;
    ExpectCode(stub_->UnaryCall(context.get(), request, &answer), code);
    if (code == StatusCode::OK) ExpectPayload(answer.payload(), kLargeResponse);
  }

  static StreamingInputCallRequest Input(int size, bool expect_compressed) {
    StreamingInputCallRequest request;
    request.mutable_payload()->set_body(std::string(size, '\0'));
    request.mutable_expect_compressed()->set_value(expect_compressed);
    return request;
  }

  static void ExpectStatus(const Status& status, const std::string& message) {
    ExpectCode(status, StatusCode::UNKNOWN);
    Expect(status.error_message() == message, "another status message came: " + status.error_message());
  }

  void ExpectUnaryStatus(const std::string& message) {
    auto context = Context();
    SimpleRequest request;
    request.mutable_response_status()->set_code(2);
    request.mutable_response_status()->set_message(message);
    SimpleResponse answer;
    ExpectStatus(stub_->UnaryCall(context.get(), request, &answer), message);
  }

  Arguments arguments_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<TestService::Stub> stub_;
};

const std::map<std::string, void (Cases::*)()> kCases = {
    {"empty_unary", &Cases::EmptyUnary},
    {"large_unary", &Cases::LargeUnary},
    {"client_streaming", &Cases::ClientStreaming},
    {"server_streaming", &Cases::ServerStreaming},
    {"ping_pong", &Cases::PingPong},
    {"empty_stream", &Cases::EmptyStream},
    {"client_compressed_unary", &Cases::ClientCompressedUnary},
    {"server_compressed_unary", &Cases::ServerCompressedUnary},
    {"client_compressed_streaming", &Cases::ClientCompressedStreaming},
    {"server_compressed_streaming", &Cases::ServerCompressedStreaming},
    {"custom_metadata", &Cases::CustomMetadata},
    {"status_code_and_message", &Cases::StatusCodeAndMessage},
    {"special_status_message", &Cases::SpecialStatusMessage},
    {"unimplemented_method", &Cases::UnimplementedMethod},
    {"unimplemented_service", &Cases::UnimplementedServiceCase},
    {"cancel_after_begin", &Cases::CancelAfterBegin},
    {"cancel_after_first_response", &Cases::CancelAfterFirstResponse},
    {"timeout_on_sleeping_server", &Cases::TimeoutOnSleepingServer},
    {"pick_first_unary", &Cases::PickFirstUnary},
    {"concurrent_large_unary", &Cases::ConcurrentLargeUnary},
    {"rpc_soak", &Cases::RpcSoak},
    {"channel_soak", &Cases::ChannelSoak},
};

bool Parse(int count, char** words, Arguments* arguments) {
  for (int i = 1; i < count; i++) {
    std::string name = words[i];
    if (name == "--no-probe") {
      arguments->probes = false;
      continue;
    }
    if (++i == count) return false;
    if (name == "--case") {
      arguments->name = words[i];
    } else if (name == "--load") {
      arguments->load_seconds = std::atof(words[i]);
    } else if (name == "--port") {
      arguments->port = std::atoi(words[i]);
    } else if (name == "--next-port") {
      arguments->next_port = std::atoi(words[i]);
    } else if (name == "--iterations") {
      arguments->iterations = std::atoi(words[i]);
    } else {
      return false;
    }
  }
  return arguments->port > 0;
}

}  // namespace

int main(int count, char** words) {
  Arguments arguments;
  if (!Parse(count, words, &arguments)) {
    std::fprintf(stderr, "interop-client: arguments as in the head of client.cc\n");
    return 2;
  }
  if (arguments.load_seconds > 0) {
    RunLoad(arguments.load_seconds, arguments.port, arguments.next_port);
    return 0;
  }
  auto found = kCases.find(arguments.name);
  if (found == kCases.end()) {
    std::printf("no case %s\n", arguments.name.c_str());
    return 2;
  }
  try {
    Cases cases(arguments);
    (cases.*found->second)();
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
  return 0;
}
