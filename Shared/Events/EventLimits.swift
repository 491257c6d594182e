/// Every bound on what a sender may send. The numbers are part of the contract: proto/footfall/ingest/v1/ingest.proto.
package enum EventLimits {
  package static let requestBytesMax = 4 << 20
  package static let eventsPerBatchMax = 1_000
  package static let fieldsPerEventMax = 64
  package static let experimentsMax = 16

  package static let openIDBytesMax = 128
  package static let deviceIDBytesMax = 128
  package static let eventIDBytesMax = 128
  package static let contextTextBytesMax = 256
  package static let experimentBytesMax = 256
  package static let pagePathBytesMax = 512
  package static let nameBytesMax = 32
  package static let fieldTextBytesMax = 1_024
  package static let appIDBytesMax = 64

  /// The last millisecond of the year 9999: sums of times and offsets stay far from overflow.
  package static let timeMillisecondsMax: Int64 = 253_402_300_799_999
  package static let ageYearsMax: Int64 = 150
  package static let devicePixelsMax: Int64 = 100_000
  package static let sceneMax: Int64 = 1_000_000_000
  /// A page open for longer than seven days was not looked at: sums of stays stay far from overflow.
  package static let stayMillisecondsMax: Int64 = 604_800_000
}
