import ServiceKit
import UserProfile

await ServiceMain(
  name: "user-profile",
  summary: "Keeps what is known of each user, and answers who the users are.",
  port: 7002, metricsPort: 7102, settings: UserProfileSettings.all
) { context in
  try UserProfileProcess.parts(context)
}.main()
