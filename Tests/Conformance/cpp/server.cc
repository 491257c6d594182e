// gRPC's interop services on gRPC C++: a stranger's server for our client.
//
//   interop-server PORT

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "flags.h"
#include "grpc/testing/test.grpc.pb.h"

namespace {

using grpc::ServerContext;
using grpc::Status;
using grpc::StatusCode;
using namespace grpc::testing;

void EchoMetadata(ServerContext* context) {
  const auto& sent = context->client_metadata();
  auto text = [](const grpc::string_ref& value) { return std::string(value.data(), value.length()); };
  auto initial = sent.find("x-grpc-test-echo-initial");
  if (initial != sent.end()) context->AddInitialMetadata("x-grpc-test-echo-initial", text(initial->second));
  auto trailing = sent.find("x-grpc-test-echo-trailing-bin");
  if (trailing != sent.end()) context->AddTrailingMetadata("x-grpc-test-echo-trailing-bin", text(trailing->second));
}

Status CheckCompressed(const ServerContext& context, const BoolValue& expected) {
  if (InteropServerContextInspector::WasCompressed(context) == expected.value()) return Status::OK;
  return Status(StatusCode::INVALID_ARGUMENT, "expect_compressed differs from the message's flag");
}

class TestServiceImpl final : public TestService::Service {
 public:
  Status EmptyCall(ServerContext* context, const Empty*, Empty*) override {
    EchoMetadata(context);
    return Status::OK;
  }

  Status UnaryCall(ServerContext* context, const SimpleRequest* request, SimpleResponse* response) override {
    EchoMetadata(context);
    if (request->has_expect_compressed()) {
      Status status = CheckCompressed(*context, request->expect_compressed());
      if (!status.ok()) return status;
    }
    if (request->has_response_status() && request->response_status().code() != 0) {
      return Status(static_cast<StatusCode>(request->response_status().code()), request->response_status().message());
    }
    if (request->has_response_compressed()) {
      context->set_compression_algorithm(request->response_compressed().value() ? GRPC_COMPRESS_GZIP : GRPC_COMPRESS_NONE);
    }
    response->mutable_payload()->set_body(std::string(request->response_size(), '\0'));
    if (request->fill_server_id()) response->set_server_id("cpp-" + std::to_string(getpid()));
    return Status::OK;
  }

  Status StreamingOutputCall(
      ServerContext* context, const StreamingOutputCallRequest* request,
      grpc::ServerWriter<StreamingOutputCallResponse>* writer) override {
    EchoMetadata(context);
    return Answer(context, *request, writer);
  }

  Status StreamingInputCall(
      ServerContext* context, grpc::ServerReader<StreamingInputCallRequest>* reader,
      StreamingInputCallResponse* response) override {
    EchoMetadata(context);
    StreamingInputCallRequest request;
    int sum = 0;
    while (reader->Read(&request)) {
      if (request.has_expect_compressed()) {
        Status status = CheckCompressed(*context, request.expect_compressed());
        if (!status.ok()) return status;
      }
      sum += request.payload().body().size();
    }
    response->set_aggregated_payload_size(sum);
    return Status::OK;
  }

  Status FullDuplexCall(
      ServerContext* context,
      grpc::ServerReaderWriter<StreamingOutputCallResponse, StreamingOutputCallRequest>* stream) override {
    EchoMetadata(context);
    StreamingOutputCallRequest request;
    while (stream->Read(&request)) {
      Status status = Answer(context, request, stream);
      if (!status.ok()) return status;
    }
    return Status::OK;
  }

 private:
  template <typename Writer>
  Status Answer(ServerContext* context, const StreamingOutputCallRequest& request, Writer* writer) {
    if (request.has_response_status() && request.response_status().code() != 0) {
      return Status(static_cast<StatusCode>(request.response_status().code()), request.response_status().message());
    }
    for (const auto& parameters : request.response_parameters()) {
      // Named before the headers leave; messages opt out one by one.
      if (parameters.compressed().value()) context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
    }
    for (const auto& parameters : request.response_parameters()) {
      std::this_thread::sleep_for(std::chrono::microseconds(parameters.interval_us()));
      StreamingOutputCallResponse response;
      response.mutable_payload()->set_body(std::string(parameters.size(), '\0'));
      grpc::WriteOptions options;
      if (parameters.has_compressed() && !parameters.compressed().value()) options.set_no_compression();
      writer->Write(response, options);
    }
    return Status::OK;
  }
};

}  // namespace

int main(int count, char** words) {
  if (count != 2) {
    std::fprintf(stderr, "usage: interop-server PORT\n");
    return 2;
  }
  TestServiceImpl service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(std::string("127.0.0.1:") + words[1], grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  auto server = builder.BuildAndStart();
  if (!server) return 1;
  server->Wait();
}
