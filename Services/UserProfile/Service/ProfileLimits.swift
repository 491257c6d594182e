/// Every bound of user-profile.
package enum ProfileLimits {
  /// Words of 64 days from 1970 to 9999, with some to spare: times of events lie between.
  package static let dayWordsMax = 50_000
  package static let portraitDays: [Int32] = [1, 7, 30]
  /// Groups below this are not shown, unless the caller names another bound (SEMANTICS 9).
  package static let minGroupUsersDefault: UInt32 = 5
  package static let minGroupUsersMax: UInt32 = 1_000
  /// Users of one chunk of the portrait's columns and bitmaps.
  package static let chunkUsers = 4_096
  /// Different values of one portrait attribute of an app. Users with further ones are shown as "(other)".
  package static let portraitValuesMax = 4_096
  /// Events that are gathered before they are applied, about 100 bytes each: 3 MiB, their attributes beside it.
  package static let gatheredEventsMax = 32_768
  /// Users that one flush may touch before it is cut.
  package static let gatheredUsersMax = 16_384
  /// Of docs/semantics.md.
  package static let definitionVersion = "1"
}
