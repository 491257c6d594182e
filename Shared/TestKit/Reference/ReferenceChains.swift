/// Any funnel (SEMANTICS 6) by trying every chain, of every kind that may be asked.
package struct ReferenceChains {
  package struct Step {
    package var isDone: (ReferenceEvent) -> Bool
    package var isOptional = false
    package var isInvited = false

    package init(_ isDone: @escaping (ReferenceEvent) -> Bool) { self.isDone = isDone }
  }

  /// Cuts a chain whose last step, from 0, is in `behind`.
  package struct Exclusion {
    package var isMet: (ReferenceEvent) -> Bool
    package var behind: Range<Int>

    package init(_ isMet: @escaping (ReferenceEvent) -> Bool, behind: Range<Int>) {
      self.isMet = isMet
      self.behind = behind
    }
  }

  package enum Order { case ordered, strict, any }
  package enum Count { case users, opens, entries }

  package var steps: [Step]
  package var exclusions: [Exclusion] = []
  package var order = Order.ordered
  package var count = Count.users
  /// Fields with equal values on all steps.
  package var held: [String] = []
  /// nil: any later time within the range.
  package var window: Int64?
  /// Step 1 must happen in it.
  package var range: Range<Int64>
  package var rules: ReferenceRules
  /// Whether an event counts and is in the scope.
  package var counts: (ReferenceEvent) -> Bool
  package var value: (String, ReferenceEvent) -> ReferenceValue?

  package init(
    steps: [Step], range: Range<Int64>, rules: ReferenceRules,
    counts: @escaping (ReferenceEvent) -> Bool,
    value: @escaping (String, ReferenceEvent) -> ReferenceValue?
  ) {
    self.steps = steps
    self.range = range
    self.rules = rules
    self.counts = counts
    self.value = value
  }

  /// One user, open or entry, and the chain that counts.
  package struct Outcome {
    /// By step up to the furthest; nil: left out.
    package var events: [ReferenceEvent?]
    package var first: ReferenceEvent
    package var last: ReferenceEvent
  }

  /// A chain: which event did which step.
  private struct Chain {
    var links: [(event: Int, step: Int)]
    var start: Int { links[0].event }
    var end: Int { links[links.count - 1].event }
  }

  package func outcomes(_ events: [ReferenceEvent]) -> [Outcome] {
    if steps.contains(where: \.isInvited) { return invitedOutcomes(events) }
    return Dictionary(grouping: events, by: \.user).values.flatMap { own -> [Outcome] in
      switch count {
      case .users: return [furthest(visible(own))].compactMap { $0 }
      case .opens: return rules.opens(own).compactMap { furthest(visible($0.events)) }
      case .entries: return entries(visible(own))
      }
    }
  }

  /// The events that can be part of a chain, or cut one.
  private func visible(_ events: [ReferenceEvent]) -> [ReferenceEvent] {
    events.filter(counts).sorted(by: ReferenceEvent.comesBefore).filter {
      $0.time >= range.lowerBound && (window != nil || $0.time < range.upperBound)
    }
  }

  // MARK: Chains

  private func begins(_ event: ReferenceEvent) -> Bool {
    guard range.contains(event.time) else { return false }
    return order == .any ? steps.contains { $0.isDone(event) } : steps[0].isDone(event)
  }

  private func furthest(_ events: [ReferenceEvent]) -> Outcome? {
    let starts = events.indices.filter { begins(events[$0]) }
    return best(starts.flatMap { chains(from: $0, events) }).map { outcome($0, events) }
  }

  private func reached(_ chain: Chain) -> Int {
    order == .any ? chain.links.count : chain.links[chain.links.count - 1].step + 1
  }

  /// Furthest, then first to get there, then step by step the earlier event, of one event the later step.
  private func best(_ chains: [Chain]) -> Chain? {
    chains.min { a, b in
      if reached(a) != reached(b) { return reached(a) > reached(b) }
      if a.end != b.end { return a.end < b.end }
      for (left, right) in zip(a.links, b.links) {
        if left.event != right.event { return left.event < right.event }
        if left.step != right.step { return left.step > right.step }
      }
      return a.links.count < b.links.count
    }
  }

  /// Every chain that begins with an event, the unfinished ones too.
  private func chains(from start: Int, _ events: [ReferenceEvent]) -> [Chain] {
    let first = order == .any ? steps.indices.filter { steps[$0].isDone(events[start]) } : [0]
    return first.flatMap { extensions(of: Chain(links: [(start, $0)]), events) }
  }

  private func extensions(of chain: Chain, _ events: [ReferenceEvent]) -> [Chain] {
    var found = [chain]
    for next in events.indices where next > chain.end {
      if let window, events[next].time - events[chain.start].time > window { break }
      if isEqual(events[next], events[chain.start]) {
        for step in nextSteps(chain) where steps[step].isDone(events[next]) {
          found += extensions(of: Chain(links: chain.links + [(next, step)]), events)
        }
      }
      if isCut(chain, by: events[next]) { break }
    }
    return found
  }

  private func nextSteps(_ chain: Chain) -> [Int] {
    if order == .any { return steps.indices.filter { step in !chain.links.contains { $0.step == step } } }
    let last = chain.links[chain.links.count - 1].step
    return steps.indices.filter { step in
      step > last && steps[last + 1..<step].allSatisfy(\.isOptional)
    }
  }

  private func isCut(_ chain: Chain, by event: ReferenceEvent) -> Bool {
    let last = chain.links[chain.links.count - 1].step
    if order == .strict { return last < steps.count - 1 }
    return exclusions.contains { $0.behind.contains(last) && $0.isMet(event) }
  }

  private func isEqual(_ a: ReferenceEvent, _ b: ReferenceEvent) -> Bool {
    held.allSatisfy { value($0, a) == value($0, b) }
  }

  private func outcome(_ chain: Chain, _ events: [ReferenceEvent]) -> Outcome {
    var own = [ReferenceEvent?](repeating: nil, count: reached(chain))
    for (number, link) in chain.links.enumerated() {
      own[order == .any ? number : link.step] = events[link.event]
    }
    return Outcome(events: own, first: events[chain.start], last: events[chain.end])
  }

  // MARK: Entries

  private func entries(_ events: [ReferenceEvent]) -> [Outcome] {
    let keys = Set(events.map { event in held.map { value($0, event) } })
    return keys.flatMap { key -> [Outcome] in
      var outcomes: [Outcome] = []
      var next = 0
      while let start = events[next...].indices.first(where: { index in
        begins(events[index]) && held.map { value($0, events[index]) } == key
      }) {
        let chains = chains(from: start, events)
        guard let best = best(chains) else { return outcomes }
        outcomes.append(outcome(best, events))
        if reached(best) == steps.count {
          next = best.end + 1
        } else {
          next = chains.map { end(of: $0, events) }.max() ?? events.count
        }
      }
      return outcomes
    }
  }

  /// The first event that a chain cannot wait for: its window is over, or it is cut.
  private func end(of chain: Chain, _ events: [ReferenceEvent]) -> Int {
    events.indices.first { index in
      guard index > chain.end else { return false }
      if let window, events[index].time - events[chain.start].time > window { return true }
      return isCut(chain, by: events[index])
    } ?? events.count
  }

  // MARK: Across users

  /// Of whoever did step 1. Only the times of a chain are told apart.
  private func invitedOutcomes(_ events: [ReferenceEvent]) -> [Outcome] {
    let all = visible(events)
    let starts = all.indices.filter { begins(all[$0]) }
    return Dictionary(grouping: starts) { all[$0].user }.values.compactMap { starts in
      let chains = starts.flatMap { invitedChains(Chain(links: [($0, 0)]), all) }
      let best = chains.min { a, b in
        if a.links.count != b.links.count { return a.links.count > b.links.count }
        if all[a.end].time != all[b.end].time { return all[a.end].time < all[b.end].time }
        if a.start != b.start { return ReferenceEvent.comesBefore(all[a.start], all[b.start]) }
        let (left, right) = (a.links.map { all[$0.event].time }, b.links.map { all[$0.event].time })
        return left.lexicographicallyPrecedes(right)
      }
      return best.map { outcome($0, all) }
    }
  }

  private func invitedChains(_ chain: Chain, _ events: [ReferenceEvent]) -> [Chain] {
    let step = chain.links.count
    guard step < steps.count else { return [chain] }
    let last = events[chain.end]
    return [chain] + events.indices.flatMap { next -> [Chain] in
      let event = events[next]
      guard steps[step].isDone(event), !chain.links.contains(where: { $0.event == next }),
        window.map({ event.time - events[chain.start].time <= $0 }) ?? true
      else { return [] }
      if steps[step].isInvited {
        guard event.user != last.user, event.time >= last.time,
          let share = last.fields["share_id"] ?? last.context["share_id"],
          event.context["share_id"] == share
        else { return [] }
      } else {
        guard event.user == last.user, next > chain.end else { return [] }
      }
      return invitedChains(Chain(links: chain.links + [(next, step)]), events)
    }
  }
}
