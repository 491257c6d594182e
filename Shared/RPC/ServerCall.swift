internal import HTTP2
internal import Synchronization

/// One call as a server keeps it, in one object: what its handler may know of it, what that adds to the answer, and its task.
final class ServerCall: Sendable {
  let method: MethodDescriptor
  let principal: Principal
  let metadata: KeptMetadata
  /// Monotonic, ns; 0: none.
  let deadline: Int64
  let peer: String
  let requestWasCompressed: Bool
  let seed: CallSeed

  private let answer = Mutex<(initial: Metadata, trailing: Metadata)>((Metadata(), Metadata()))
  /// Whether the handler has added anything: few do.
  private let hasMetadata = Atomic<Bool>(false)
  private let compression = Atomic<Bool>(false)
  private let encoded = Mutex<[UInt8]?>(nil)
  /// Whether there is any: few handlers have their answer as bytes.
  private let isEncoded = Atomic<Bool>(false)

  let task = TaskBox()
  /// Of a streaming call, until its stream is closed.
  // nonisolated(unsafe): touched on the connection's event loop only.
  nonisolated(unsafe) var pipe: MessagePipe?

  init(
    method: MethodDescriptor, principal: Principal, metadata: KeptMetadata, deadline: Int64,
    peer: String, requestWasCompressed: Bool, seed: CallSeed
  ) {
    self.method = method
    self.principal = principal
    self.metadata = metadata
    self.deadline = deadline
    self.peer = peer
    self.requestWasCompressed = requestWasCompressed
    self.seed = seed
  }

  func add(initial name: String, _ value: [UInt8]) {
    answer.withLock { $0.initial.add(name, bytes: value) }
    hasMetadata.store(true, ordering: .releasing)
  }

  func add(trailing name: String, _ value: [UInt8]) {
    answer.withLock { $0.trailing.add(name, bytes: value) }
    hasMetadata.store(true, ordering: .releasing)
  }

  /// What the handler has added so far.
  var added: (initial: Metadata, trailing: Metadata) {
    guard hasMetadata.load(ordering: .acquiring) else { return (Metadata(), Metadata()) }
    return answer.withLock { $0 }
  }

  /// Whether there is anything to send beside the message.
  var addsNothing: Bool { !hasMetadata.load(ordering: .acquiring) }

  func answer(encoded bytes: [UInt8]) {
    encoded.withLock { $0 = bytes }
    isEncoded.store(true, ordering: .releasing)
  }

  /// The answer's bytes where the handler had them.
  func takeEncoded() -> [UInt8]? {
    guard isEncoded.load(ordering: .acquiring) else { return nil }
    return encoded.withLock { $0.take() }
  }

  func compressMessages() { compression.store(true, ordering: .relaxed) }

  var compressesMessages: Bool { compression.load(ordering: .relaxed) }
}

/// The custom metadata of a request as it came: taken apart only where somebody asks, because most handlers do not.
struct KeptMetadata: Sendable {
  private enum Form {
    /// As `KeptFields`.
    case raw([UInt8])
    case entries(Metadata)
  }

  private let form: Form

  init(_ metadata: Metadata) { form = .entries(metadata) }

  /// Nothing.
  init() { form = .raw([]) }

  /// Copies what handlers may see; nothing of the token.
  init(_ stream: StreamPointer) {
    let fields = stream.fields(of: stream.pointee.firstBlock)
    // Not made in place: an array of unknown elements takes five times as long to make as the copy of bytes.
    form = withUnsafeTemporaryAllocation(byteCount: fields.count, alignment: 1) { room in
      var count = 0
      KeptFields.forEach(in: fields) { known, _, _, whole in
        guard known == .custom || known == .userAgent else { return }
        UnsafeMutableRawBufferPointer(rebasing: room[count...]).copyMemory(from: whole)
        count &+= whole.count
      }
      return .raw(Array(UnsafeRawBufferPointer(rebasing: room[..<count])))
    }
  }

  /// Cost: a `String` and an array for each field.
  var metadata: Metadata {
    switch form {
    case .raw(let fields): fields.withUnsafeBytes { RequestHead.metadata($0) }
    case .entries(let metadata): metadata
    }
  }

  /// What `body` makes of the first value of a name for which it makes anything.
  func first<Value>(_ name: String, _ body: (UnsafeRawBufferPointer) -> Value?) -> Value? {
    switch form {
    case .raw(let fields):
      var found: Value?
      fields.withUnsafeBytes { fields in
        KeptFields.forEach(in: fields) { known, label, value, _ in
          if found == nil, known == .custom, label.elementsEqual(name.utf8) { found = body(value) }
        }
      }
      return found
    case .entries(let metadata):
      for entry in metadata.entries where entry.name == name {
        if let value = entry.value.withUnsafeBytes(body) { return value }
      }
      return nil
    }
  }
}
