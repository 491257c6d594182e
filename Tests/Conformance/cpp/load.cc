#include "load.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "grpc/testing/test.grpc.pb.h"

namespace {

using namespace grpc::testing;
using Clock = std::chrono::steady_clock;

constexpr int kUnaryWorkers = 8;
constexpr int kStreamWorkers = 4;
constexpr int kMessagesPerStream = 20;

struct Load {
  std::unique_ptr<TestService::Stub> stubs[2];
  std::atomic<int> calls[2] = {{0}, {0}};
  std::atomic<int> streams[2] = {{0}, {0}};
  Clock::time_point end;
};

void Prepare(grpc::ClientContext* context, const std::string& name) {
  context->AddMetadata("x-conformance-call", name);
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
}

grpc::Status Call(TestService::Stub* stub, const std::string& name) {
  grpc::ClientContext context;
  Prepare(&context, name);
  SimpleRequest request;
  request.set_response_size(100);
  SimpleResponse response;
  grpc::Status status = stub->UnaryCall(&context, request, &response);
  if (status.ok() && response.payload().body().size() != 100) {
    return grpc::Status(grpc::StatusCode::DATA_LOSS, "an answer of another size came");
  }
  return status;
}

grpc::Status Stream(TestService::Stub* stub, const std::string& name) {
  grpc::ClientContext context;
  Prepare(&context, name);
  auto stream = stub->FullDuplexCall(&context);
  StreamingOutputCallRequest request;
  auto* parameters = request.add_response_parameters();
  parameters->set_size(100);
  parameters->set_interval_us(20000);
  StreamingOutputCallResponse response;
  int answers = 0;
  while (answers < kMessagesPerStream && stream->Write(request) && stream->Read(&response)) answers++;
  stream->WritesDone();
  grpc::Status status = stream->Finish();
  if (status.ok() && answers < kMessagesPerStream) {
    return grpc::Status(grpc::StatusCode::DATA_LOSS, "the stream ended early");
  }
  return status;
}

void Work(Load* load, int worker) {
  bool streams = worker >= kUnaryWorkers;
  int server = 0;
  for (int number = 0; Clock::now() < load->end; number++) {
    std::string name = "cpp-" + std::to_string(worker) + "-" + std::to_string(number);
    TestService::Stub* stub = load->stubs[server].get();
    grpc::Status status = streams ? Stream(stub, name) : Call(stub, name);
    if (status.ok()) {
      (streams ? load->streams : load->calls)[server]++;
    } else {
      std::printf("failed %s %d %d: %s\n", name.c_str(), server, status.error_code(), status.error_message().c_str());
      server = 1;
    }
  }
}

}  // namespace

void RunLoad(double seconds, int port, int next_port) {
  Load load;
  int ports[2] = {port, next_port};
  for (int i = 0; i < 2; i++) {
    load.stubs[i] = TestService::NewStub(
        grpc::CreateChannel("127.0.0.1:" + std::to_string(ports[i]), grpc::InsecureChannelCredentials()));
  }
  load.end = Clock::now() + std::chrono::milliseconds(static_cast<int>(seconds * 1000));
  std::vector<std::thread> workers;
  for (int i = 0; i < kUnaryWorkers + kStreamWorkers; i++) workers.emplace_back(Work, &load, i);
  for (auto& worker : workers) worker.join();
  std::printf(
      "ok %d %d %d %d\n", load.calls[0].load(), load.streams[0].load(), load.calls[1].load(), load.streams[1].load());
}
