import Query
import ServiceKit

await ServiceMain(
  name: "query",
  summary: "Answers reports over the whole history: trends and funnels, exact as of an offset of the log.",
  port: 7003, metricsPort: 7103, settings: QuerySettings.all
) { context in
  try QueryProcess.parts(context)
}.main()
