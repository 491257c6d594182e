/// Is told what a walk over opens finds (`OpenWalk`). There is one for each block of users; within a day it is told of one
/// user after another, and of the days in order.
///
/// The walk is compiled for each visitor. Its methods are called for every event: they must not allocate, lock, or build
/// strings.
protocol OpenVisitor {
  /// What the query works out once for each day, for all blocks: filters, values of a breakdown.
  associatedtype Marks: Sendable
  /// What is remembered of an open until its end.
  associatedtype Open
  /// What is remembered of a page visit until its stay is known.
  associatedtype Visit
  /// What was counted. Blocks end in any order: `merge` must not depend on it.
  associatedtype Summary: WalkSummary

  /// Whether `stay` is wanted: without it a walk has less to remember.
  static var measuresStays: Bool { get }
  /// Stands where there is no open.
  static var noOpen: Open { get }
  static var noVisit: Visit { get }

  /// A day begins. `day` is good until the next one begins.
  mutating func enter(_ day: WalkedDay, _ marks: Marks)
  /// A user's events of the day begin: these rows.
  mutating func enter(user: UInt32, _ rows: Range<Int>)
  /// They have ended.
  mutating func leaveUser()

  /// An event of a server, on a day of the range: it is part of no open.
  mutating func passive(_ row: Int)
  /// An open begins with an event; `view` and `event` of the same row follow.
  mutating func begin(_ row: Int, at time: Int64) -> Open
  /// A page visit begins.
  mutating func view(_ row: Int, at time: Int64, _ open: inout Open) -> Visit
  /// The stay of a page visit, ms, is known: at the next one, or at the open's end.
  mutating func stay(_ visit: Visit, _ milliseconds: Int64, _ open: inout Open)
  /// Any event of an open, the first one and page visits too.
  mutating func event(_ row: Int, _ code: Int, at time: Int64, _ open: inout Open)
  /// The open has ended; all of its stays have been told.
  mutating func end(_ open: inout Open, of user: UInt32, _ end: OpenEnd)

  /// The walk leaves an open that may go on: what the visitor keeps elsewhere of it must go into `open`.
  mutating func suspend(_ open: inout Open)
  /// It goes on.
  mutating func resume(_ open: inout Open)

  /// Opens that lie wholly in the day, of the users at these positions of the day, with all of the users' events of the day: instead of
  /// all that is told of an open one by one. Called only where the walk was asked for it.
  mutating func take(_ positions: Range<Int>, of opens: DayOpens)

  /// An event of a day before the range, in no open: called only where the walk was asked for history.
  mutating func history(_ row: Int)

  /// What was counted since it was last asked.
  mutating func takeSummary() -> Summary
}

extension OpenVisitor {
  static var measuresStays: Bool { true }
  mutating func enter(user: UInt32, _ rows: Range<Int>) {}
  mutating func leaveUser() {}
  mutating func passive(_ row: Int) {}
  mutating func event(_ row: Int, _ code: Int, at time: Int64, _ open: inout Open) {}
  mutating func suspend(_ open: inout Open) {}
  mutating func resume(_ open: inout Open) {}
  mutating func history(_ row: Int) {}
  mutating func take(_ positions: Range<Int>, of opens: DayOpens) {
    preconditionFailure("a walk that did not ask for whole opens")
  }
}

/// How an open ended.
struct OpenEnd {
  /// Time of its last event, ms since 1970.
  let lastMilliseconds: Int64
  /// Whether no later event can go on with it, as of what the log holds.
  let isCertain: Bool
}

protocol WalkSummary: Sendable {
  init()
  mutating func merge(_ other: Self)
}
