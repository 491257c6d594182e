// The peer of the RPC load test: the same echo on gRPC C++, in its fastest form (asynchronous, generic, one thread, no
// message classes). Usage: echo PORT
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <memory>
#include <string>

namespace {

// One call: takes a request, sends it back, ends, and is replaced by the next.
class EchoCall {
 public:
  EchoCall(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue)
      : service_(service), queue_(queue), stream_(&context_) {
    service_->RequestCall(&context_, &stream_, queue_, queue_, this);
  }

  void Proceed(bool good) {
    if (!good) {
      delete this;
      return;
    }
    switch (step_) {
      case Step::kAccept:
        new EchoCall(service_, queue_);
        step_ = Step::kRead;
        stream_.Read(&message_, this);
        break;
      case Step::kRead:
        step_ = Step::kFinish;
        stream_.WriteAndFinish(message_, grpc::WriteOptions(), grpc::Status::OK, this);
        break;
      case Step::kFinish:
        delete this;
        break;
    }
  }

 private:
  enum class Step { kAccept, kRead, kFinish };

  grpc::AsyncGenericService* service_;
  grpc::ServerCompletionQueue* queue_;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_;
  grpc::ByteBuffer message_;
  Step step_ = Step::kAccept;
};

}  // namespace

int main(int count, char** arguments) {
  const std::string port = count > 1 ? arguments[1] : "0";
  grpc::AsyncGenericService service;
  grpc::ServerBuilder builder;
  int bound = 0;
  builder.AddListeningPort("127.0.0.1:" + port, grpc::InsecureServerCredentials(), &bound);
  builder.RegisterAsyncGenericService(&service);
  auto queue = builder.AddCompletionQueue();
  auto server = builder.BuildAndStart();
  if (!server || bound == 0) {
    std::fprintf(stderr, "echo: cannot listen on port %s\n", port.c_str());
    return 1;
  }
  std::printf("ready: echo on 127.0.0.1:%d\n", bound);
  std::fflush(stdout);
  for (int i = 0; i < 1024; i++) new EchoCall(&service, queue.get());
  void* tag = nullptr;
  bool good = false;
  while (queue->Next(&tag, &good)) static_cast<EchoCall*>(tag)->Proceed(good);
}
