// The peer of the RPC load test on gRPC C++, in its fastest form: asynchronous, generic, one thread.
//
// Any method echoes its message's bytes. GetProfile does a full method's work: it checks the token of the call's metadata,
// decodes the request with the generated class and encodes the answer.
// Usage: grpc-cpp PORT [TOKEN]
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <cstdio>
#include <memory>
#include <string>
#include <unordered_map>

#include "footfall/profile/v1/profile.pb.h"

namespace {

using footfall::profile::v1::GetProfileRequest;
using footfall::profile::v1::Profile;

const char kFullMethod[] = "/footfall.profile.v1.UserProfile/GetProfile";

// Scopes by authorization header.
std::unordered_map<std::string, std::string> tokens;

grpc::Status Authorize(const grpc::GenericServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto header = metadata.find("authorization");
  if (header == metadata.end()) return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "no token");
  const auto token = tokens.find(std::string(header->second.data(), header->second.size()));
  if (token == tokens.end()) return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "unknown token");
  if (token->second != "profile:read") return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "lacks the scope");
  return grpc::Status::OK;
}

// Replaces the encoded request by the encoded answer.
grpc::Status Answer(grpc::ByteBuffer* message) {
  GetProfileRequest request;
  const grpc::Status decoded = grpc::SerializationTraits<GetProfileRequest>::Deserialize(message, &request);
  if (!decoded.ok()) return decoded;
  Profile profile;
  profile.set_open_id(request.open_id());
  profile.set_first_active_ms(1750000000000);
  profile.set_last_active_ms(1760000000000 + static_cast<int64_t>(request.app_id().size()));
  profile.set_session_cnt(17);
  profile.set_visit_pv(request.open_id().size());
  profile.set_event_cnt(300);
  profile.set_active_days(5);
  bool own = false;
  return grpc::SerializationTraits<Profile>::Serialize(profile, message, &own);
}

// One call: takes a request, answers, ends, and is replaced by the next.
class Call {
 public:
  Call(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue)
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
        new Call(service_, queue_);
        step_ = Step::kRead;
        stream_.Read(&message_, this);
        break;
      case Step::kRead:
        step_ = Step::kFinish;
        Finish();
        break;
      case Step::kFinish:
        delete this;
        break;
    }
  }

 private:
  enum class Step { kAccept, kRead, kFinish };

  void Finish() {
    grpc::Status status;
    if (context_.method() == kFullMethod) {
      status = Authorize(context_);
      if (status.ok()) status = Answer(&message_);
    }
    if (status.ok()) {
      stream_.WriteAndFinish(message_, grpc::WriteOptions(), status, this);
    } else {
      stream_.Finish(status, this);
    }
  }

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
  if (count > 2) tokens[std::string("Bearer ") + arguments[2]] = "profile:read";
  grpc::AsyncGenericService service;
  grpc::ServerBuilder builder;
  int bound = 0;
  builder.AddListeningPort("127.0.0.1:" + port, grpc::InsecureServerCredentials(), &bound);
  builder.RegisterAsyncGenericService(&service);
  auto queue = builder.AddCompletionQueue();
  auto server = builder.BuildAndStart();
  if (!server || bound == 0) {
    std::fprintf(stderr, "grpc-cpp: cannot listen on port %s\n", port.c_str());
    return 1;
  }
  std::printf("ready: echo on 127.0.0.1:%d\n", bound);
  std::fflush(stdout);
  for (int i = 0; i < 1024; i++) new Call(&service, queue.get());
  void* tag = nullptr;
  bool good = false;
  while (queue->Next(&tag, &good)) static_cast<Call*>(tag)->Proceed(good);
}
