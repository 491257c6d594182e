/// How much may wait for the writer, and how much of it each app may hold.
///
/// The bound follows the writer's speed: about what it writes in `Limits.queueDelayMilliseconds`, so that whoever is let in
/// is answered soon, and whoever is not hears it at once.
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

  package init() {}

  /// The writer has written a group.
  package mutating func committed(bytes: Int, nanoseconds: Int64) {
    guard bytes >= Limits.rateGroupBytesMin, nanoseconds > 0 else { return }
    let rate = Double(bytes) / Double(nanoseconds) * 1e9
    bytesPerSecond = bytesPerSecond == 0 ? rate : bytesPerSecond * 0.9 + rate * 0.1
    let delayed = Int(bytesPerSecond * Double(Limits.queueDelayMilliseconds) / 1_000)
    bytesMax = min(max(delayed, Limits.queuedBytesMin), Limits.queuedBytesMax)
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
