internal import HTTP2
internal import NIOCore
internal import RPC

/// What all connections of one event loop share.
// @unchecked: `memory`, `input`, `output`, `ticking`, `ticker`, `flushing`, `writingLater`, `writers` and `pace` are used on the loop only;
// the rest is immutable.
final class LoopResources: @unchecked Sendable {
  let loop: any EventLoop
  let executor: LoopTaskExecutor
  let memory = SessionMemory()
  let input = ReadBuffer()
  let output = OutputBuffer()
  /// Which of its group's loops it is: 0, 1 ...
  let index: Int
  /// Connections whose timers are looked at, each at its `tickIndex`.
  private var ticking: [ServerChannelHandler] = []
  private var ticker: RepeatedTask?
  /// Connections that have something to write.
  private var flushing: [ChannelDriver] = []
  /// Connections that have had their share of a turn and have more to write.
  private var writingLater: [ServerChannelHandler] = []
  /// How many there were when the turn began.
  private var writers = 0

  /// Bytes that all connections together write before each has had its turn, and the least for each of them.
  private static let outputPerTurn = 512 * 1024
  private static let outputShareMin = 16 * 1024
  /// Tasks that are due run before the loop looks at its sockets again, also those that such tasks make: only one that is not due
  /// yet leaves the others their turn.
  private static let turn = TimeAmount.microseconds(10)

  /// Bytes that one connection may write in this turn: the less the more of them write without end, so that a reader of much does
  /// not hold up those who wait for little.
  var outputShare: Int { max(Self.outputShareMin, Self.outputPerTurn / max(1, writers)) }

  /// Lets a connection write once what runs now has ended. One task for all of them: many calls may be answered at once.
  func flushLater(_ driver: ChannelDriver) {
    flushing.append(driver)
    guard flushing.count == 1 else { return }
    loop.execute {
      let drivers = self.flushing
      self.flushing = []
      self.flushing.reserveCapacity(drivers.count)
      for driver in drivers { driver.flushNow() }
    }
  }

  /// Gives a connection another turn, after the loop has looked at what has come for the others.
  func continueLater(_ handler: ServerChannelHandler) {
    if handler.writesLater { return }
    handler.writesLater = true
    writingLater.append(handler)
    guard writingLater.count == 1 else { return }
    loop.scheduleTask(in: Self.turn) {
      let handlers = self.writingLater
      self.writingLater = []
      self.writers = handlers.count
      for handler in handlers { handler.goOn() }
      if self.writingLater.isEmpty { self.writers = 0 }
    }
  }

  /// Of a server: nil for clients.
  private(set) var pace: CreditPace?

  /// - Parameter core: of the server whose connections run here; nil: they are a client's.
  init(_ loop: any EventLoop, index: Int = 0, core: ServerCore? = nil) {
    self.loop = loop
    self.index = index
    executor = LoopTaskExecutor(loop)
    pace = core.map { CreditPace(core: $0, loop: index) }
    pace?.onWaiting = { [unowned self] in stepPaceLater() }
  }

  private func stepPaceLater() {
    loop.scheduleTask(in: .nanoseconds(CreditPace.stepNanoseconds)) { [weak self] in
      guard let self, let pace else { return }
      if pace.step(now: MonotonicClock.now) { stepPaceLater() }
    }
  }

  /// Looks at the timers of all connections from now on: one timer for the loop, however many connections and calls there are.
  /// The loop's thread is one that serves, from here on.
  func startTicking(everyMilliseconds milliseconds: Int) {
    let interval = TimeAmount.milliseconds(Int64(milliseconds))
    loop.execute {
      ThreadTurns.beLoop()
      self.ticker = self.loop.scheduleRepeatedTask(initialDelay: interval, delay: interval) {
        [weak self] _ in self?.tick()
      }
    }
  }

  func stopTicking() {
    loop.execute {
      self.ticker?.cancel()
      self.ticker = nil
    }
  }

  private func tick() {
    let now = MonotonicClock.now
    for handler in ticking { handler.tick(now) }
  }

  func add(_ handler: ServerChannelHandler) {
    handler.tickIndex = ticking.count
    ticking.append(handler)
  }

  func remove(_ handler: ServerChannelHandler) {
    guard let index = handler.tickIndex else { return }
    handler.tickIndex = nil
    let last = ticking.removeLast()
    if index < ticking.count {
      ticking[index] = last
      last.tickIndex = index
    }
  }
}

/// Runs the tasks of handlers on an event loop; inline where they are resumed from it, which costs a third of a hop to the global
/// pool and back.
///
/// Never inline while tasks are cancelled, and never within another task's run, which may cancel a group: the runtime holds a
/// lock of each child task then, and a child that is resumed by its cancellation handler would run to its end, and be freed,
/// under that lock ("pthread_mutex_destroy failed with error 16").
// @unchecked: the flags are used on the loop only.
final class LoopTaskExecutor: TaskExecutor, @unchecked Sendable {
  private let loop: any EventLoop
  private var isRunning = false
  private var isHolding = false

  init(_ loop: any EventLoop) { self.loop = loop }

  func enqueue(_ job: consuming ExecutorJob) {
    let unowned = UnownedJob(job)
    if loop.inEventLoop, !isRunning, !isHolding {
      run(unowned)
    } else {
      loop.execute { self.run(unowned) }
    }
  }

  private func run(_ job: UnownedJob) {
    isRunning = true
    job.runSynchronously(on: asUnownedTaskExecutor())
    isRunning = false
  }

  /// On the loop: tasks that the work resumes run later.
  func holding(_ work: () -> Void) {
    let before = isHolding
    isHolding = true
    work()
    isHolding = before
  }

  func asUnownedTaskExecutor() -> UnownedTaskExecutor { UnownedTaskExecutor(ordinary: self) }
}
