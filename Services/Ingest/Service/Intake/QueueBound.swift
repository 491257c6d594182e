/// How much may wait for the writer, and how much of it each app may hold.
///
/// The bound follows the writer's speed: about what it writes in `Limits.queueDelayMilliseconds`, or in four transactions where the
/// disk takes longer, so that whoever is let in is answered soon, and whoever is not hears it at once.
///
/// Half as much may wait where that is no burst but stands (after CoDel, Nichols and Jacobson, 2012): where batches were refused and
/// the queue has not run low for a while. More would make nothing faster then: whoever is let in would wait longer, and what waits would
/// have left the processor's cache when its turn comes.
///
/// An app may hold at most twice what is still free (the dynamic threshold of Choudhury and Hahne, 1998). One app alone gets
/// two thirds of the queue; n apps that want all of it get 2 / (1 + 2n) each; and as there is always something free, an app
/// that holds little is always let in. As the queue is served in order, the shares of the queue are the shares of the
/// writer's time: max-min fair, by bytes.
package struct QueueBound: Sendable {
  /// Bytes that may wait now.
  package private(set) var bytesMax = Limits.queuedBytesMax
  /// Bytes that the writer has written per second of late; 0: not known yet.
  package private(set) var bytesPerSecond = 0.0
  /// What a group has taken of late.
  private var groupNanoseconds = 0.0
  package private(set) var isStanding = false
  /// What is watched for a while: nanoseconds of writing so far, the least that waited behind a group, and whether something was refused.
  private var watched: Int64 = 0
  private var lowest = Int.max
  private var hasRefused = false

  package init() {}

  /// The writer has written a group.
  ///
  /// - Parameter queued: bytes that wait behind it.
  package mutating func committed(bytes: Int, nanoseconds: Int64, queued: Int) {
    watch(queued, nanoseconds)
    guard bytes >= Limits.rateGroupBytesMin, nanoseconds > 0 else { return }
    let rate = Double(bytes) / Double(nanoseconds) * 1e9
    if bytesPerSecond == 0 {
      (bytesPerSecond, groupNanoseconds) = (rate, Double(nanoseconds))
    } else {
      bytesPerSecond = bytesPerSecond * 0.9 + rate * 0.1
      groupNanoseconds = groupNanoseconds * 0.9 + Double(nanoseconds) * 0.1
    }
    setBound()
  }

  private mutating func setBound() {
    let burst = min(
      max(Double(Limits.queueDelayMilliseconds) * 1e6, groupNanoseconds * Double(Limits.queuedGroups)),
      Double(Limits.queueDelayMillisecondsMax) * 1e6)
    let delay = isStanding ? burst / 2 : burst
    let least = isStanding ? Limits.standingBytesMin : Limits.queuedBytesMin
    bytesMax = Int(min(max(bytesPerSecond * delay / 1e9, Double(least)), Double(Limits.queuedBytesMax)))
  }

  /// A batch found no room.
  package mutating func refused() { hasRefused = true }

  private mutating func watch(_ queued: Int, _ nanoseconds: Int64) {
    let before = isStanding
    defer { if isStanding != before { setBound() } }
    // A stalled disk leaves a burst, which is soon gone: the stall says nothing of how long the queue stands.
    watched += min(nanoseconds, Limits.watchedGroupNanosecondsMax)
    lowest = min(lowest, queued)
    // Milliseconds until the writer would have nothing to do.
    let lead = bytesPerSecond > 0 ? Double(lowest) / bytesPerSecond * 1_000 : 0
    if lead < Limits.idleLeadMilliseconds {
      isStanding = false
    } else if watched < Limits.standingNanoseconds {
      return
    } else {
      isStanding = lead >= Limits.standingLeadMilliseconds && (isStanding || hasRefused)
    }
    (watched, lowest, hasRefused) = (0, .max, false)
  }

  /// Whether the queue is so full that shares matter.
  package func isCrowded(_ queued: Int) -> Bool { queued > bytesMax / 4 }

  /// Whether so many bytes more of an app may wait.
  package func admits(_ bytes: Int, queued: Int, ofApp held: Int) -> Bool {
    guard queued > 0 else { return true }
    let free = bytesMax - queued
    return bytes <= free && held + bytes <= 2 * free
  }

  /// Whether an app holds so much, a quarter of the queue, that its senders are slowed down before they are refused.
  package func slows(_ bytes: Int, ofApp held: Int) -> Bool { held + bytes > bytesMax / 4 }

  /// After how long there will be room, milliseconds.
  package func pushback(queued: Int) -> Int {
    guard bytesPerSecond > 0 else { return Limits.pushbackMilliseconds }
    let wait = Int(Double(queued) / bytesPerSecond * 1_000)
    return min(max(wait, Limits.pushbackMillisecondsMin), Limits.pushbackMillisecondsMax)
  }
}
