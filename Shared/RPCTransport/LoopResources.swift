internal import HTTP2
internal import NIOCore
internal import RPC

/// What all connections of one event loop share.
// @unchecked: `memory` is used on the loop only; the rest is immutable.
final class LoopResources: @unchecked Sendable {
  let loop: any EventLoop
  let executor: LoopTaskExecutor
  let memory = SessionMemory()

  init(_ loop: any EventLoop) {
    self.loop = loop
    executor = LoopTaskExecutor(loop)
  }
}

/// Runs the tasks of handlers on an event loop; inline where they are resumed from it, which costs a third of a hop to the global
/// pool and back.
final class LoopTaskExecutor: TaskExecutor {
  private let loop: any EventLoop

  init(_ loop: any EventLoop) { self.loop = loop }

  func enqueue(_ job: consuming ExecutorJob) {
    let unowned = UnownedJob(job)
    if loop.inEventLoop {
      unowned.runSynchronously(on: asUnownedTaskExecutor())
    } else {
      loop.execute { unowned.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
  }

  func asUnownedTaskExecutor() -> UnownedTaskExecutor { UnownedTaskExecutor(ordinary: self) }
}
