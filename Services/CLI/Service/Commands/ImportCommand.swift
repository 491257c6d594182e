import ArgumentParser
import Messages
import RPC
import RPCTransport

/// `footfall import`.
struct ImportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import",
    abstract: "Import a CSV or NDJSON file, also packed by gzip.",
    discussion: """
      Each row becomes one event. A column named as a target goes there by itself; other columns become fields of the event.
      Targets: name, time, open_id, page_path, event_id, passive, any context field (platform, province, scene, \
      campaign_source ...), experiments.NAME, fields.NAME[:string|integer|double|boolean], and - for nothing.

      Importing a file again, or after an interruption, counts nothing twice. Rows that cannot be used are reported and \
      skipped; the exit code is 1 only if every row was refused.
      """)

  @Argument(help: "The file; - for standard input.")
  var file: String
  @Option(name: .customLong("map"), help: "column=target; may be given again.")
  var maps: [String] = []
  @Option(name: .customLong("set"), help: "target=value for every row whose columns do not say it.")
  var constants: [String] = []
  @Option(name: .customLong("rename-event"), help: "from=to, to give events other names.")
  var renames: [String] = []
  @Flag(name: .customLong("ignore-unmapped"), help: "Other columns do not become fields.")
  var ignoresUnmapped = false
  @Option(name: .customLong("time-format"), help: "auto, unix, unix-ms, or a pattern: '%d/%b/%Y:%H:%M:%S %z'.")
  var timeFormat = "auto"
  @Option(name: .customLong("time-zone"), help: "Zone of times that do not name theirs, IANA.")
  var timeZone = "UTC"
  @Option(help: "csv or ndjson; by default as the name says.")
  var format: String?
  @Option(help: "What separates CSV columns; tab for a tabulator.")
  var delimiter = ","
  @Option(help: "Write refused rows to this file, as NDJSON.")
  var rejects: String?
  @Option(name: .customLong("state"), help: "Folder of the progress (default: imports in the data folder).")
  var stateFolder: String?
  @Flag(help: "Begin at the front, whatever an earlier run has done.")
  var restart = false
  @Flag(name: .customLong("dry-run"), help: "Read and map every row, send nothing.")
  var dryRun = false
  @Flag(help: "No progress bar.")
  var quiet = false
  @OptionGroup var app: AppOptions
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let plan = try plan()
    let stateFile = try stateFile(plan)
    if restart { stateFile?.remove() }
    let report =
      dryRun ? try rehearse(plan) : try await send(plan, stateFile)
    try ImportSummary(report: report, file: file, appID: app.appID, isDryRun: dryRun)
      .print(asJSON: output.json)
    if report.rows > 0 && report.rejectedRows + report.quarantinedRows == report.rows {
      throw CommandFailure("every row of \(file) was refused")
    }
  }

  /// What the options say, checked.
  struct Plan {
    let mapping: ColumnMapping
    let times: TimeFormat
    let clock: ZoneClock
    let format: FileFormat
    let delimiter: UInt8
  }

  private func plan() throws -> Plan {
    let mapping = try ColumnMapping(
      maps: maps, constants: constants, renames: renames, keepsUnmapped: !ignoresUnmapped)
    guard let clock = ZoneClock(identifier: timeZone) else {
      throw CommandFailure.usage("--time-zone: \"\(timeZone)\" is not an IANA time zone")
    }
    let separator = delimiter == "tab" || delimiter == "\\t" ? "\t" : delimiter
    guard let byte = separator.utf8.first, separator.utf8.count == 1, byte != 0x22, byte != 0x0a
    else { throw CommandFailure.usage("--delimiter: \"\(delimiter)\" is not one character") }
    return Plan(
      mapping: mapping, times: try TimeFormat(timeFormat), clock: clock, format: try fileFormat(),
      delimiter: byte)
  }

  private func fileFormat() throws -> FileFormat {
    if let format {
      guard let known = FileFormat(rawValue: format) else {
        throw CommandFailure.usage("--format: \"\(format)\" is neither csv nor ndjson")
      }
      return known
    }
    var name = file.lowercased()
    if name.hasSuffix(".gz") { name.removeLast(3) }
    if name.hasSuffix(".csv") || name.hasSuffix(".tsv") || name.hasSuffix(".txt") { return .csv }
    if name.hasSuffix(".ndjson") || name.hasSuffix(".jsonl") || name.hasSuffix(".json") {
      return .ndjson
    }
    throw CommandFailure.usage("\(file): the name tells no format; say --format csv or ndjson")
  }

  private func open(_ plan: Plan) throws -> any RowReader {
    let input = try LineBuffer(FileSource(path: file))
    guard plan.format == .csv else { return NDJSONReader(input) }
    let reader = try CSVReader(input, delimiter: plan.delimiter)
    try plan.mapping.check(columns: reader.columns)
    return reader
  }

  /// nil for standard input: it cannot be read from the front again.
  private func stateFile(_ plan: Plan) throws -> ImportStateFile? {
    guard file != "-", !dryRun else { return nil }
    let folder = stateFolder ?? "\(connection.dataFolder)/imports"
    let identity = try FileIdentity(path: file)
    return ImportStateFile(
      folder: folder,
      identity: [
        identity.text, app.appID, "\(try connection.address(of: .ingest))", timeFormat, timeZone,
        plan.format.rawValue, delimiter, plan.mapping.fingerprint,
      ])
  }

  private func source(_ plan: Plan, _ state: ImportState) throws -> ChunkSource {
    let mapper = EventMapper(mapping: plan.mapping, times: plan.times, clock: plan.clock)
    return ChunkSource(
      reader: try open(plan), mapper: mapper, appID: app.appID, state: state,
      keepsRows: rejects != nil)
  }

  private func rehearse(_ plan: Plan) throws -> ImportReport {
    let source = try source(plan, ImportState(fingerprint: ""))
    let rejectFile = try rejects.map { path in try RejectFile(path: path, isContinued: false) }
    var report = ImportReport()
    while let chunk = try source.next() {
      report.count(rows: chunk.closing.rows)
      let events = chunk.batches.reduce(0) { $0 + $1.request.events.count }
      report.count(accepted: events, duplicates: 0)
      for row in chunk.closing.problems {
        report.reject(row.problem, line: row.line)
        try rejectFile?.write(row)
      }
    }
    return report
  }

  private func send(_ plan: Plan, _ stateFile: ImportStateFile?) async throws -> ImportReport {
    let stored = stateFile?.load()
    do {
      return try await transfer(plan, stateFile, stored)
    } catch is Importer.StateMismatch {
      Printer.note("footfall: the store does not hold what an earlier run sent: from the front")
      return try await transfer(plan, stateFile, nil)
    }
  }

  private func transfer(
    _ plan: Plan, _ stateFile: ImportStateFile?, _ stored: ImportState?
  ) async throws -> ImportReport {
    let state = stored ?? stateFile?.fresh() ?? ImportState(fingerprint: "")
    if state.rowsDone > 0 {
      Printer.note("going on behind row \(NumberText.grouped(state.rowsDone)) of an earlier run")
    }
    let source = try source(plan, state)
    let rejectFile = try rejects.map { path in
      try RejectFile(path: path, isContinued: state.rowsDone > 0)
    }
    var bar = ProgressBar(isShown: !quiet && !output.json && Printer.isTerminal(2))
    return try await connection.withChannel(to: .ingest) { channel in
      let importer = Importer(
        client: IngestClient(channel), source: source, state: state, stateFile: stateFile,
        rejects: rejectFile, onProgress: { bar.show(rows: $0.rowsRead, share: $0.progress) })
      do {
        let report = try await importer.run()
        bar.finish()
        stateFile?.remove()
        return report
      } catch let error where !(error is Importer.StateMismatch) {
        bar.finish()
        try ImportSummary(
          report: importer.settled, file: file, appID: app.appID, isDryRun: false
        ).print(asJSON: output.json)
        throw error
      }
    }
  }
}
