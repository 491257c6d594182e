import Events
import Testing

@Suite struct EventClockTests {
  private let received: Int64 = 1_700_000_000_000

  @Test func a_difference_of_a_minute_is_left_alone() {
    #expect(EventClock(received: received, sent: received - 60_000, isImport: false).offsetMilliseconds == 0)
    #expect(EventClock(received: received, sent: received + 60_000, isImport: false).offsetMilliseconds == 0)
  }

  @Test func one_more_millisecond_moves_every_event_of_the_batch() {
    let behind = EventClock(received: received, sent: received - 60_001, isImport: false)
    #expect(behind.offsetMilliseconds == 60_001)
    #expect(behind.time(5) == 60_006)
    let ahead = EventClock(received: received, sent: received + 60_001, isImport: false)
    #expect(ahead.time(received + 60_000) == received - 1)
  }

  @Test func an_unknown_sending_time_corrects_nothing() {
    #expect(EventClock(received: received, sent: 0, isImport: false).offsetMilliseconds == 0)
  }

  @Test func later_than_five_minutes_after_receipt_counts_as_receipt() {
    let clock = EventClock(received: received, sent: received, isImport: false)
    #expect(clock.time(received + 300_000) == received + 300_000)
    #expect(clock.time(received + 300_001) == received)
  }

  @Test func older_than_seven_days_is_late() {
    let clock = EventClock(received: received, sent: received, isImport: false)
    #expect(!clock.isLate(received - 604_800_000))
    #expect(clock.isLate(received - 604_800_001))
  }

  @Test func an_import_is_taken_as_it_is() {
    let clock = EventClock(received: received, sent: 1, isImport: true)
    #expect(clock.offsetMilliseconds == 0)
    #expect(clock.time(received * 2) == received * 2)
    #expect(!clock.isLate(1))
  }
}

@Suite struct CRC32CTests {
  @Test("the vectors of RFC 3720, B.4")
  func vectors() {
    #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8a91_36aa)
    #expect(CRC32C.checksum([UInt8](repeating: 0xff, count: 32)) == 0x62a8_ab43)
    #expect(CRC32C.checksum(Array(0..<32)) == 0x46dd_794e)
    #expect(CRC32C.checksum(Array("123456789".utf8)) == 0xe306_9283)
    #expect(CRC32C.checksum([]) == 0)
  }

  @Test("the instruction and the tables agree at every length and alignment")
  func instructionAndTables() {
    var random = SystemRandomNumberGenerator()
    let bytes = (0..<200).map { _ in UInt8.random(in: .min ... .max, using: &random) }
    bytes.withUnsafeBytes { all in
      for start in 0..<16 {
        for end in start..<all.count {
          let part = UnsafeRawBufferPointer(rebasing: all[start..<end])
          #expect(CRC32C.checksum(part) == CRC32C.checksumByTables(part))
        }
      }
    }
  }
}
